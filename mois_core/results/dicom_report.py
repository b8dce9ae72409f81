"""The lesion report as a DICOM structured report (TID 1500), for archives that list them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mois_core import __version__
from mois_core.io.dicom_source import DicomSource
from mois_core.network.model_info import ModelInfo
from mois_core.results.body_regions import BodyRegion
from mois_core.results.dicom_equipment import (
    NAME,
    algorithm_name,
    derived_uid,
    equipment,
    new_uid,
)
from mois_core.results.dicom_lesions import DicomLesion
from mois_core.results.dicom_segmentation import StationSegmentation, set_letters
from mois_core.results.lesion_report import rounded

if TYPE_CHECKING:
    import highdicom

_SERIES_NUMBER = 9200


def structured_report(
    source: DicomSource,
    lesions: Sequence[DicomLesion],
    segmentations: Sequence[StationSegmentation],
    model: ModelInfo,
) -> highdicom.sr.Comprehensive3DSR:
    """Return a report with volume and longest diameter of each lesion.

    Each refers to its segment. One that reaches over several stations refers to the one with most
    of it; the others' segments have the same tracking UID.
    """
    import highdicom
    from pydicom.sr.codedict import codes

    device = highdicom.sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid(NAME, __version__, model.sha256),
        name=NAME,
        manufacturer_name=NAME,
        model_name=NAME,
    )
    content = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(
            observer_device_context=highdicom.sr.ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[_measured(lesion, segmentations, model) for lesion in lesions],
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = highdicom.sr.Comprehensive3DSR(
        evidence=[
            *(header for station in source.stations for header in station.headers),
            *(segmentation.dataset for segmentation in segmentations),
        ],
        content=content,
        series_instance_uid=new_uid(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=1,
        is_complete=True,
        series_description="Lesions, measurements",
        **equipment(model),
    )
    set_letters(report, lesions)
    return report


def _measured(
    lesion: DicomLesion, segmentations: Sequence[StationSegmentation], model: ModelInfo
) -> highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    import highdicom
    from pydicom.sr.codedict import codes

    row = lesion.row
    is_ours = not lesion.lesion.is_drawn
    most = max(segmentations, key=lambda station: sum(station.voxels_on(row.lesion).values()))
    return highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(
            uid=lesion.tracking_uid, identifier=lesion.tracking_id
        ),
        referenced_segment=_referenced_segment(most, row.lesion),
        finding_type=codes.SCT.Neurofibroma,
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        algorithm_id=highdicom.sr.AlgorithmIdentification(
            name=algorithm_name(model), version=__version__
        )
        if is_ours
        else None,
        finding_sites=_finding_sites(lesion.region),
        measurements=[
            highdicom.sr.Measurement(
                codes.SCT.Volume, rounded(row.volume_cm3), codes.UCUM.CubicCentimeter
            ),
            highdicom.sr.Measurement(
                codes.SCT.LongAxis, rounded(row.diameter_mm), codes.UCUM.Millimeter
            ),
        ],
    )


def _finding_sites(region: BodyRegion) -> list[highdicom.sr.FindingSite] | None:
    """Return where a lesion lies, in the codes of CID 4031 with the side of limbs (CID 244)."""
    import highdicom
    from pydicom.sr.codedict import codes

    if region is BodyRegion.UNKNOWN:
        return None
    sct, first = codes.SCT, region.partition(" ")[0]
    sites = {
        BodyRegion.HEAD_AND_NECK: sct.HeadAndNeck,
        BodyRegion.THORAX: sct.Chest,
        BodyRegion.ABDOMEN: sct.Abdomen,
        BodyRegion.PELVIS: sct.Pelvis,
        BodyRegion.TRUNK: sct.Trunk,
    }
    limb = sct.UpperLimb if "upper" in region else sct.LowerLimb
    side = {"right": sct.Right, "left": sct.Left}.get(first)
    return [highdicom.sr.FindingSite(sites.get(region, limb), laterality=side)]


def _referenced_segment(
    segmentation: StationSegmentation, lesion_id: int
) -> highdicom.sr.ReferencedSegment:
    """Refer to a segment and to the images that it lies on.

    highdicom's own way from a segmentation fails if that holds one segment only.
    """
    from highdicom.sr import ReferencedSegment, SourceImageForSegmentation

    number = segmentation.segment_numbers[lesion_id]
    on = segmentation.voxels_on(lesion_id)
    headers = segmentation.station.headers
    frame_numbers = segmentation.station.frame_numbers
    if frame_numbers is None:
        images = [(headers[n], None) for n in on]
    else:
        images = [(headers[0], [frame_numbers[n] for n in on])]
    return ReferencedSegment(
        segmentation.dataset.SOPClassUID,
        segmentation.dataset.SOPInstanceUID,
        number,
        source_images=[
            SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID, frames)
            for header, frames in images
        ],
    )
