"""What a user does in the Slicer application, as scenarios with a picture of every step."""
