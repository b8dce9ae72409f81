"""What is measured arrives in the archive: segments, measurements and outlines of one study."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import (
    DISTANCE,
    IDENTITY,
    IDENTITY_TAGS,
    PATIENT,
    EnhancedFrame,
    write_series,
)
from dicom_results import (
    MODEL,
    SIZE,
    TILTED,
    ArchivedScan,
    assert_same_places,
    classic,
    enhanced,
    errors_in,
    lesion,
    needs_dciodvfy,
    noise,
    places_in,
    places_of,
    touching_lesions,
    write,
)
from follow_up_visits import write_dicom_visit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from mois_core import __version__
from mois_core.errors import BadInput, Cancelled
from mois_core.phantom import make_phantom
from mois_core.progress import CancelToken
from mois_core.results.body_regions import BodyRegion, lesion_regions
from mois_core.results.colours import lesion_colour
from mois_core.results.dicom_files import check_writable
from mois_core.results.dicom_pictures import outlined_slice
from mois_core.results.lesion_report import measure_lesions, without_overlaps, write_csv
from mois_core.session.lesion import Painting, Status
from mois_core.session.masks import Mask

highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")

BESIDE = [EnhancedFrame(place, echo=echo) for place in range(5) for echo in (30.0, 80.0)]
PACKED = np.array([65536, 256, 1])
STATIONS = [EnhancedFrame(place, down=down) for down in (0, 12.13) for place in range(5)]


def a_classic_scan(folder):
    return ArchivedScan.read(classic(folder, [3, 0, 5, 1, 2, 4]))


def an_oblique_scan(folder):
    return ArchivedScan.read(classic(folder, column=TILTED, spacing=(0.62, 0.625)))


def an_enhanced_scan(folder):
    return ArchivedScan.read(
        enhanced(folder / "a.dcm", [EnhancedFrame(n) for n in (3, 0, 4, 1, 2)])
    )


def an_echo(folder):
    return ArchivedScan.read(enhanced(folder / "a.dcm", BESIDE), series="1.2.3.9#2")


def an_enhanced_oblique_scan(folder):
    frames = [EnhancedFrame(n, column=tuple(TILTED)) for n in range(5)]
    return ArchivedScan.read(enhanced(folder / "a.dcm", frames))


def an_axial_view(folder):
    return ArchivedScan.read(classic(folder, range(30)), axis="axial")


SCANS = [
    a_classic_scan,
    an_oblique_scan,
    an_enhanced_scan,
    an_echo,
    an_enhanced_oblique_scan,
]


@pytest.fixture(params=SCANS, ids=lambda scan: scan.__name__)
def a_scan(request, tmp_path):
    return request.param(tmp_path / "Aufnahme für später")


@pytest.fixture
def written(a_scan, tmp_path):
    lesions = touching_lesions(a_scan.stack)
    write(a_scan, lesions, tmp_path / "out")
    return a_scan, lesions, tmp_path / "out"


def counting(scan, lesions):
    return [le for le in without_overlaps(scan.stack, lesions) if le.status.counts]


def segmentation(folder):
    return pydicom.dcmread(folder / "segmentation.dcm")


@needs_dciodvfy
def test_every_file_follows_the_standard(written):
    files = sorted(written[2].rglob("*.dcm"))
    assert len(files) == 1 + 1 + 5
    assert {file.name: errors_in(file) for file in files} == {file.name: [] for file in files}


def test_segments_lie_where_they_were_outlined(written):
    scan, lesions, folder = written
    dataset = segmentation(folder)
    expected = counting(scan, lesions)
    assert [int(s.SegmentNumber) for s in dataset.SegmentSequence] == [1, 2, 3]
    for number, outlined in enumerate(expected, start=1):
        assert_same_places(places_of(dataset, number), places_in(scan.stack, outlined.mask))


def test_segments_say_what_they_are_and_how_they_came_about(written):
    scan, lesions, folder = written
    counted = counting(scan, lesions)
    for segment, outlined in zip(segmentation(folder).SegmentSequence, counted, strict=True):
        category = segment.SegmentedPropertyCategoryCodeSequence[0]
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        assert (category.CodeValue, category.CodingSchemeDesignator) == ("49755003", "SCT")
        assert (kind.CodeValue, kind.CodeMeaning) == ("404029005", "Neurofibroma")
        is_clicked = outlined.status is Status.PROMPTED
        assert segment.SegmentAlgorithmType == ("SEMIAUTOMATIC" if is_clicked else "AUTOMATIC")
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert "phantom" in algorithm.AlgorithmName
        assert __version__ in algorithm.AlgorithmVersion
        assert MODEL.sha256[:12] in algorithm.AlgorithmVersion
        assert segment.SegmentLabel == f"Lesion {outlined.id}"
        lab = highdicom.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue)
        shown = np.array(lab.to_rgb()) / 255
        assert np.abs(shown - lesion_colour(outlined.id)).max() < 0.01


def test_measurements_are_those_of_the_table(written, tmp_path):
    scan, lesions, folder = written
    write_csv(tmp_path / "table.csv", measure_lesions(scan.stack, lesions))
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["status"] != "rejected"]
    report = highdicom.sr.srread(folder / "measurements.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    measured = [[float(m.value) for m in group.get_measurements()] for group in groups]
    assert measured == [[float(row["volume_cm3"]), float(row["diameter_mm"])] for row in table]
    units = [[m.unit.value for m in group.get_measurements()] for group in groups]
    assert units == [["cm3", "mm"]] * 3


@needs_dciodvfy
@pytest.mark.parametrize(
    ("tags", "site", "side"),
    [
        ({"0018|0015": "CHEST"}, ("816094009", "SCT"), None),
        ({"0018|0015": "LEG", "0020|0060": "L"}, ("61685007", "SCT"), "7771000"),
        ({"0018|0015": "WHOLEBODY"}, None, None),
        ({}, None, None),
    ],
)
def test_measurements_tell_the_part_of_the_body_if_it_is_known(tmp_path, tags, site, side):
    scan = ArchivedScan.read(classic(tmp_path / "scan", tags=tags))
    write(scan, touching_lesions(scan.stack), tmp_path / "out")
    assert errors_in(tmp_path / "out" / "measurements.dcm") == []
    report = highdicom.sr.srread(tmp_path / "out" / "measurements.dcm")
    for group in report.content.get_volumetric_roi_measurement_groups():
        sites = group.finding_sites
        assert [(one.value.value, one.value.scheme_designator) for one in sites] == [site] * bool(
            site
        )
        assert [one.laterality.value for one in sites if one.laterality] == [side] * bool(side)


def test_each_lesion_of_a_whole_body_scan_has_its_own_part_of_the_body(tmp_path):
    phantom = make_phantom(100_005, size=(512, 160), slices=20, lesions=40)
    write_dicom_visit(tmp_path / "scan", phantom, "1.2.3.4", IDENTITY_TAGS)
    scan = ArchivedScan.read(tmp_path / "scan")
    labels = scan.stack.from_volume(np.ascontiguousarray(phantom.instances[:, ::-1]))
    lesions = [lesion(scan.stack, own.id, labels == own.id) for own in phantom.lesions]
    write(scan, lesions, tmp_path / "out")
    report = highdicom.sr.srread(tmp_path / "out" / "measurements.dcm")
    told = {
        int(group.tracking_identifier.split()[-1]): [
            (one.value.meaning, one.laterality and one.laterality.meaning)
            for one in group.finding_sites
        ]
        for group in report.content.get_volumetric_roi_measurement_groups()
    }
    words = {
        BodyRegion.HEAD_AND_NECK: [("Head and Neck", None)],
        BodyRegion.THORAX: [("Chest", None)],
        BodyRegion.ABDOMEN: [("Abdomen", None)],
        BodyRegion.PELVIS: [("Pelvis", None)],
        BodyRegion.TRUNK: [("Trunk", None)],
        BodyRegion.RIGHT_UPPER_LIMB: [("Upper limb", "Right")],
        BodyRegion.LEFT_UPPER_LIMB: [("Upper limb", "Left")],
        BodyRegion.RIGHT_LOWER_LIMB: [("Lower limb", "Right")],
        BodyRegion.LEFT_LOWER_LIMB: [("Lower limb", "Left")],
        BodyRegion.UNKNOWN: [],
    }
    expected = lesion_regions(scan.stack, lesions)
    assert len(set(expected.values())) >= 8
    assert told == {n: words[region] for n, region in expected.items()}


def test_measurements_refer_to_the_segment_of_the_same_lesion(written):
    _, _, folder = written
    dataset = segmentation(folder)
    report = highdicom.sr.srread(folder / "measurements.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(dataset.SegmentSequence) == 3
    for segment, group in zip(dataset.SegmentSequence, groups, strict=True):
        assert group.tracking_uid == segment.TrackingUID
        assert group.tracking_identifier == segment.TrackingID
        reference = group.referenced_segment
        assert reference.referenced_sop_instance_uid == dataset.SOPInstanceUID
        assert reference.referenced_segment_numbers == [segment.SegmentNumber]
        frames = {
            own.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            for own in dataset.PerFrameFunctionalGroupsSequence
            if own.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment.SegmentNumber
        }
        assert frames == {
            image.referenced_sop_instance_uid for image in reference.source_images_for_segmentation
        }


def test_patient_and_study_are_those_of_the_source_and_everything_else_is_new(written):
    scan, _, folder = written
    files = [pydicom.dcmread(file) for file in sorted(folder.rglob("*.dcm"))]
    for dataset in files:
        assert str(dataset.PatientName) == PATIENT
        assert dataset.StudyInstanceUID == scan.source.header.StudyInstanceUID
        for keyword in ("PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber", "StudyID"):
            assert dataset[keyword].value == IDENTITY[keyword]
        assert dataset.StudyDescription == IDENTITY["StudyDescription"]
        assert (dataset.Manufacturer, dataset.SoftwareVersions) == ("MOISSAM2", __version__)
        assert dataset.SeriesDescription
        for uid in (dataset.SOPInstanceUID, dataset.SeriesInstanceUID):
            assert uid.startswith("2.25.") and uid.is_valid
    assert len({dataset.SeriesInstanceUID for dataset in files}) == 3
    assert len({dataset.SOPInstanceUID for dataset in files}) == len(files)
    assert segmentation(folder).FrameOfReferenceUID == IDENTITY["FrameOfReferenceUID"]


def test_segments_refer_to_the_images_that_they_lie_on(written):
    scan, _, folder = written
    files = [scan.path] if scan.path.is_file() else scan.path.iterdir()
    headers = {header.SOPInstanceUID: header for header in map(pydicom.dcmread, files)}
    for own in segmentation(folder).PerFrameFunctionalGroupsSequence:
        image = own.DerivationImageSequence[0].SourceImageSequence[0]
        header = headers[image.ReferencedSOPInstanceUID]
        if "ReferencedFrameNumber" in image:
            frame = header.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
            is_asked_for = "MREchoSequence" not in frame or (
                frame.MREchoSequence[0].EffectiveEchoTime == 80
            )
            assert is_asked_for
            at = frame.PlanePositionSequence[0].ImagePositionPatient
        else:
            at = header.ImagePositionPatient
        assert own.PlanePositionSequence[0].ImagePositionPatient == at


def test_other_programs_read_the_same_voxels(tmp_path):
    scan = a_classic_scan(tmp_path / "scan")
    where = np.zeros(scan.stack.array.shape, dtype=bool)
    where[:, 5:20, 3:11] = np.random.default_rng(1).random((6, 15, 8)) > 0.4
    write(scan, [lesion(scan.stack, 1, where)], tmp_path / "out")

    by_itk = SimpleITK.ReadImage(str(tmp_path / "out" / "segmentation.dcm"))
    assert np.allclose(by_itk.GetSpacing(), scan.stack.volume.spacing)
    voxels = np.argwhere(SimpleITK.GetArrayFromImage(by_itk) > 0)[:, ::-1].tolist()
    found = np.array([by_itk.TransformIndexToPhysicalPoint(voxel) for voxel in voxels])
    meant = places_in(scan.stack, Mask.from_stack(where))
    assert_same_places(found, meant)

    by_highdicom = highdicom.seg.segread(tmp_path / "out" / "segmentation.dcm")
    volume = by_highdicom.get_volume(combine_segments=True)
    voxels = np.argwhere(volume.array > 0)
    assert_same_places(voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3], meant)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    turns=st.tuples(*[st.floats(-40, 40)] * 3),
    order=st.permutations(range(4)),
    spacing=st.tuples(*[st.floats(0.3, 2)] * 2),
    is_enhanced=st.booleans(),
    seed=st.integers(0, 99),
)
def test_whatever_the_direction_segments_lie_on_their_slices(
    tmp_path_factory, turns, order, spacing, is_enhanced, seed
):
    rotation = np.eye(3)
    for axis, degrees in enumerate(np.radians(turns)):
        one, other = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = np.cos(degrees)
        turn[one, other], turn[other, one] = -np.sin(degrees), np.sin(degrees)
        rotation = rotation @ turn
    row, column = np.round(rotation[:, 0], 8), np.round(-rotation[:, 2], 8)
    folder = tmp_path_factory.mktemp("turned")
    lies = {"row": row, "column": column, "spacing": spacing}
    if is_enhanced:
        path = enhanced(folder / "scan" / "a.dcm", [EnhancedFrame(n, **lies) for n in order])
    else:
        path = classic(folder / "scan", order, **lies)
    scan = ArchivedScan.read(path)
    labels = np.random.default_rng(seed).integers(0, 4, scan.stack.array.shape)
    labels[1:, 3:] *= labels[1:, 3:] == labels[1:, 2:-1]
    lesions = [lesion(scan.stack, n, labels == n) for n in (1, 2, 3)]
    write(scan, lesions, folder / "out")
    dataset = segmentation(folder / "out")
    for number, outlined in enumerate(lesions, start=1):
        assert_same_places(places_of(dataset, number), places_in(scan.stack, outlined.mask))


def test_each_station_has_a_segmentation_in_its_own_place(tmp_path):
    # 12.13 mm are 20.2 rows: the lower station lies between the rows of the upper one.
    path = enhanced(tmp_path / "scan" / "a.dcm", STATIONS)
    scan = ArchivedScan.read(path)
    assert len(scan.source.stations) == 2 and scan.stack.shape[0] > SIZE[1]
    both = np.zeros(scan.stack.array.shape, dtype=bool)
    both[1:4, 15:30, 4:10] = True
    below = np.zeros(scan.stack.array.shape, dtype=bool)
    below[2:4, 45:50, 12:20] = True
    lesions = [lesion(scan.stack, 1, both), lesion(scan.stack, 2, below)]
    assert write(scan, lesions, tmp_path / "out").segmentations == 2
    uids = []
    for number, names in ((1, ["Lesion 1"]), (2, ["Lesion 1", "Lesion 2"])):
        dataset = pydicom.dcmread(tmp_path / "out" / f"segmentation-{number}.dcm")
        assert [s.SegmentLabel for s in dataset.SegmentSequence] == names
        uids.append(dataset.SegmentSequence[0].TrackingUID)
        assert f"station {number} of 2" in dataset.SeriesDescription
        # Nearest voxels: no further off than half a row, and whole rows.
        found, meant = places_of(dataset, 1), places_in(scan.stack, lesions[0].mask)
        apart = np.abs(found[:, None] - meant[None]).max(axis=2).min(axis=1)
        assert apart.max() <= 0.3 + 0.02
    assert len(set(uids)) == 1
    report = highdicom.sr.srread(tmp_path / "out" / "measurements.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in groups][0] == uids[0]
    measured = [float(group.get_measurements()[0].value) for group in groups]
    rows = measure_lesions(scan.stack, lesions)
    assert measured == pytest.approx([row.volume_cm3 for row in rows], rel=1e-6)


def test_stations_of_tilted_slices_have_segments_on_their_own_voxels(tmp_path):
    # The table moves straight down and the slices lean: the lower ones lie between the upper ones.
    frames = [
        EnhancedFrame(place, down=down, column=tuple(TILTED))
        for down in (0, 12.13)
        for place in range(5)
    ]
    scan = ArchivedScan.read(enhanced(tmp_path / "scan" / "a.dcm", frames))
    assert len(scan.source.stations) == 2
    where = np.zeros(scan.stack.array.shape, dtype=bool)
    where[1:4, 15:45, 4:10] = True
    write(scan, [lesion(scan.stack, 1, where)], tmp_path / "out")
    meant = places_in(scan.stack, Mask.from_stack(where))
    on = scan.stack.to_ras[:3, :3] * np.array([[-1], [-1], [1]])
    for number in (1, 2):
        found = places_of(pydicom.dcmread(tmp_path / "out" / f"segmentation-{number}.dcm"), 1)
        apart = np.linalg.solve(on, (found - meant[cKDTree(meant).query(found)[1]]).T)
        assert np.abs(apart).max() <= 0.5 + 0.02
        assert len(found) > 0


def test_a_lesion_that_others_cover_is_left_out_and_numbers_have_no_gap(tmp_path):
    scan = a_classic_scan(tmp_path / "scan")
    large, small = (np.zeros(scan.stack.array.shape, dtype=bool) for _ in range(2))
    large[1:4, 4:20, 3:12] = True
    small[2:3, 6:9, 5:8] = True
    covered = lesion(scan.stack, 1, small, Status.FOUND)
    lesions = [covered, lesion(scan.stack, 2, large), lesion(scan.stack, 3, ~large)]
    write(scan, lesions, tmp_path / "out")
    dataset = segmentation(tmp_path / "out")
    assert [s.SegmentLabel for s in dataset.SegmentSequence] == ["Lesion 2", "Lesion 3"]
    assert [s.SegmentNumber for s in dataset.SegmentSequence] == [1, 2]
    report = highdicom.sr.srread(tmp_path / "out" / "measurements.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [g.tracking_identifier for g in groups] == ["MOISSAM2 lesion 2", "MOISSAM2 lesion 3"]
    # Together they are the whole scan, and no voxel is in both.
    assert int(dataset.pixel_array.sum()) == scan.stack.array.size


@needs_dciodvfy
def test_one_image_alone_follows_the_standard(tmp_path):
    scan = ArchivedScan.read(classic(tmp_path / "scan", [2]))
    where = np.zeros(scan.stack.array.shape, dtype=bool)
    where[0, 5:9, 4:7] = True
    write(scan, [lesion(scan.stack, 1, where)], tmp_path / "out")
    assert_same_places(
        places_of(segmentation(tmp_path / "out"), 1), places_in(scan.stack, Mask.from_stack(where))
    )
    written = {file.name: errors_in(file) for file in (tmp_path / "out").rglob("*.dcm")}
    assert written and not any(written.values())


def test_stations_in_two_series_have_a_segmentation_each_and_one_report(tmp_path):
    for uid, down in (("1.2.3.7", 12), ("1.2.3.8", 0)):
        more = {"size": SIZE, "down": down, "values": noise(4), "tags": IDENTITY_TAGS}
        write_series(tmp_path / "scan", uid, range(4), **more)
    scan = ArchivedScan.read(tmp_path / "scan", compose=True)
    where = np.zeros(scan.stack.array.shape, dtype=bool)
    where[1:3, 2:40, 4:10] = True
    where[1:3, 42:50, 14:20] = True
    lesions = [lesion(scan.stack, 1, where)]
    write(scan, lesions, tmp_path / "out")
    names = ["segmentation-1.dcm", "segmentation-2.dcm"]
    parts = [pydicom.dcmread(tmp_path / "out" / name) for name in names]
    referred = [part.ReferencedSeriesSequence[0].SeriesInstanceUID for part in parts]
    assert referred == ["1.2.3.8", "1.2.3.7"]
    # These stations lie on one another's rows: together they are the lesion.
    places = np.concatenate([places_of(part, 1) for part in parts])
    assert_same_places(
        np.unique(np.round(places, 3), axis=0), places_in(scan.stack, Mask.from_stack(where))
    )
    report = highdicom.sr.srread(tmp_path / "out" / "measurements.dcm")
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    most = max(parts, key=lambda part: int(part.pixel_array.sum()))
    assert group.referenced_segment.referenced_sop_instance_uid == most.SOPInstanceUID
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    series = {item.SeriesInstanceUID for item in study.ReferencedSeriesSequence}
    assert series == {"1.2.3.7", "1.2.3.8", *(part.SeriesInstanceUID for part in parts)}


@needs_dciodvfy
def test_files_of_stations_and_of_a_lone_lesion_follow_the_standard(tmp_path):
    scan = ArchivedScan.read(enhanced(tmp_path / "scan" / "a.dcm", STATIONS))
    both = np.zeros(scan.stack.array.shape, dtype=bool)
    both[1:4, 15:30, 4:10] = True
    write(scan, [lesion(scan.stack, 1, both)], tmp_path / "out")
    written = {file.name: errors_in(file) for file in (tmp_path / "out").rglob("*.dcm")}
    assert written and not any(written.values())


def test_a_lesion_keeps_its_tracking_uid_and_others_have_others(tmp_path):
    scan = a_classic_scan(tmp_path / "scan")
    tracked = []
    for again in ("first", "second"):
        write(scan, touching_lesions(scan.stack), tmp_path / again)
        dataset = segmentation(tmp_path / again)
        tracked.append([segment.TrackingUID for segment in dataset.SegmentSequence])
    assert tracked[0] == tracked[1]
    assert len(set(tracked[0])) == 3 and all(uid.startswith("2.25.") for uid in tracked[0])


def test_outlines_given_are_nobodys_algorithm(tmp_path):
    scan = a_classic_scan(tmp_path / "scan")
    (first, *_) = touching_lesions(scan.stack)
    painting = Painting(1, first.mask.planes[1], 1, is_given=True)
    outlined = replace(first, name="Läsion am Knie", paintings=(painting,))
    write(scan, [outlined], tmp_path / "out", colours={first.id: (1.0, 0.0, 0.0)})
    (segment,) = segmentation(tmp_path / "out").SegmentSequence
    assert segment.SegmentAlgorithmType == "MANUAL"
    assert segment.SegmentLabel == "Läsion am Knie"
    lab = highdicom.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue)
    assert np.abs(np.array(lab.to_rgb()) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("letters", ["ISO_IR 100", "ISO_IR 192"])
def test_names_in_other_letters_stay_whole(tmp_path, letters):
    path = classic(tmp_path / "scan")
    for file in path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.SpecificCharacterSet = letters
        dataset.PatientName = "Müßig^Änne"
        dataset.save_as(file)
    scan = ArchivedScan.read(path)
    lesions = touching_lesions(scan.stack)
    write(
        scan,
        [*lesions[:2], type(lesions[2])(9, Status.FOUND, lesions[2].mask, "右膝")],
        tmp_path / "o",
    )
    for file in (tmp_path / "o").rglob("*.dcm"):
        assert str(pydicom.dcmread(file).PatientName) == "Müßig^Änne"
    assert segmentation(tmp_path / "o").SegmentSequence[2].SegmentLabel == "右膝"


def test_pictures_show_each_slice_that_holds_a_lesion(written):
    scan, lesions, folder = written
    slices = sorted({n for le in lesions if le.status.counts for n in le.mask.slices})
    files = sorted((folder / "outlines").iterdir())
    assert [file.name for file in files] == [f"slice-{n + 1:04}.dcm" for n in slices]
    for n, file in zip(slices, files, strict=True):
        dataset = pydicom.dcmread(file)
        assert (dataset.Modality, dataset.PhotometricInterpretation) == ("OT", "RGB")
        assert dataset.BitsAllocated == 8 and dataset.BurnedInAnnotation == "NO"
        assert "ot for diagnostic use" in dataset.SeriesDescription
        assert list(dataset.PatientOrientation) == ["L", "F"]
        pixels = dataset.pixel_array
        shown = set((pixels.astype(int) @ PACKED).ravel().tolist())
        for outlined in lesions:
            colour = np.round(np.multiply(lesion_colour(outlined.id), 255)).astype(int) @ PACKED
            is_here = outlined.status.counts and n in outlined.mask.planes
            assert (int(colour) in shown) == is_here
        # The line of text at the top, and no longer a side than it has to be.
        assert pixels[:20].any() and max(pixels.shape) >= 1024
        assert float(dataset.PixelSpacing[0]) == float(dataset.PixelSpacing[1])


def test_an_outline_lies_around_its_lesion(tmp_path):
    scan = an_axial_view(tmp_path / "scan")
    where = np.zeros(scan.stack.array.shape, dtype=bool)
    where[2, 10:14, 6:12] = True
    write(scan, [lesion(scan.stack, 1, where)], tmp_path / "out")
    (file,) = (tmp_path / "out" / "outlines").iterdir()
    dataset = pydicom.dcmread(file)
    assert list(dataset.PatientOrientation) == ["L", "P"]
    colour = [round(part * 255) for part in lesion_colour(1)]
    rows, columns = np.nonzero((dataset.pixel_array[40:] == colour).all(axis=2))
    pixel = float(dataset.PixelSpacing[0])
    row_mm, column_mm = scan.stack.pixel_spacing
    # The lesion's number stands to the right of it, in its colour.
    columns = columns[columns * pixel < 12 * column_mm]
    assert row_mm == pytest.approx(DISTANCE)
    assert rows.min() * pixel == pytest.approx(10 * row_mm, abs=2 * pixel)
    assert rows.max() * pixel == pytest.approx(14 * row_mm, abs=2 * pixel)
    assert columns.min() * pixel == pytest.approx(6 * column_mm, abs=2 * pixel)
    assert columns.max() * pixel == pytest.approx(12 * column_mm, abs=2 * pixel)


@pytest.mark.parametrize("axis", ["coronal", "sagittal", "axial"])
def test_both_sides_of_the_patient_are_told_at_the_edges(tmp_path, axis):
    scan = ArchivedScan.read(classic(tmp_path / "scan", range(30)), axis=axis)
    page, pixel = outlined_slice(scan.stack, 3, [], (0, 900))
    width = round(scan.stack.shape[1] * scan.stack.pixel_spacing[1] / pixel)
    letters = (page[40:58] == 255).all(axis=2)
    left, right = letters[:, :18], letters[:, width - 18 : width]
    assert left.any() and right.any() and not np.array_equal(left, right)


def test_without_a_lesion_nothing_is_written(tmp_path):
    scan = a_classic_scan(tmp_path / "scan")
    rejected = touching_lesions(scan.stack)[3]
    written = write(scan, [rejected], tmp_path / "out")
    assert (written.segmentations, written.pictures) == (0, 0)
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_is_told_for_each_part_and_stopping_is_no_fault_of_the_headers(tmp_path):
    scan = a_classic_scan(tmp_path / "scan")
    lesions = touching_lesions(scan.stack)
    told, cancel = [], CancelToken()
    write(scan, lesions, tmp_path / "out", progress=lambda *how: told.append(how))
    assert [done for done, _, _ in told] == [0, *range(1, 9)]
    assert {total for _, total, _ in told[1:]} == {8} and told[-1][2] == "writing DICOM"

    def stop(done, total, what):
        if done == 4:
            cancel.cancel()

    with pytest.raises(Cancelled):
        write(scan, lesions, tmp_path / "stopped", progress=stop, cancel=cancel)


def test_headers_that_cannot_be_taken_over_are_refused_beforehand_and_not_quoted(tmp_path):
    path = classic(tmp_path / "scan", tags={"0010|0030": "Geheim"})
    scan = ArchivedScan.read(path)
    with pytest.raises(BadInput) as caught:
        check_writable(scan.source, scan.stack, MODEL)
    assert "headers" in str(caught.value) and "Geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_nothing_of_the_patient_is_warned_of_or_logged(tmp_path, recwarn, caplog, capfd):
    path = classic(tmp_path / "scan", tags={"0010|0010": "Geheim", "0010|0020": "Geheim" * 20})
    caplog.set_level(logging.DEBUG)
    scan = ArchivedScan.read(path)
    check_writable(scan.source, scan.stack, MODEL)
    write(scan, touching_lesions(scan.stack), tmp_path / "out")
    assert "Geheim" not in caplog.text + "".join(capfd.readouterr())
    assert not [warning for warning in recwarn if "Geheim" in str(warning.message)]
