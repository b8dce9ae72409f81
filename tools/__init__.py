"""Scripts for developers: parity, figures, measurements, the layout of the extension."""
