"""Where an image lies: what a file says about the size and place of its pixels, for the file of its labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import asdict, dataclass, fields, replace
from math import isclose, isfinite, nan
from typing import Any
from xml.etree import ElementTree

__all__ = ["Place", "label_colors", "ngff_place", "ome_image", "tiff_options", "tiff_place"]

#: Units of length by their names in OME-NGFF: the sign in OME-XML, and in ImageJ.
UNITS = {
    "angstrom": ("Å", "A"), "nanometer": ("nm", "nm"), "micrometer": ("µm", "um"), "millimeter": ("mm", "mm"),
    "centimeter": ("cm", "cm"), "meter": ("m", "m"), "kilometer": ("km", "km"), "inch": ("in", "inch"),
    "foot": ("ft", "foot"), "picometer": ("pm", "pm"),
}  # fmt: skip
SIGNS = {sign: name for name, signs in UNITS.items() for sign in (name, *signs)} | dict.fromkeys(
    ("micron", "microns", "μm", "u", "\\u00b5m", "\\u00B5m"), "micrometer"
)
#: Lengths in centimeters, for the resolution of TIFF.
CENTIMETERS = {"nanometer": 1e-7, "micrometer": 1e-4, "millimeter": 0.1, "centimeter": 1.0, "meter": 100.0}
#: Tags of GeoTIFF: pixel scale, tie points, transformation, keys and their values, rational polynomials.
GEO = (33550, 33922, 34264, 34735, 34736, 34737, 50844)
NODATA = 42113


@dataclass(frozen=True)
class Place:
    """What a file says about the place of its pixels; what it does not say is None or empty.

    Parameters
    ----------
    scale : tuple of float
        Distance of the pixels along (z,) y, x.
    unit : str
        Of the distances, as OME-NGFF names it: micrometer.
    translation : tuple of float
        Place of the first pixel along (z,) y, x, in the unit.
    resolution : (float, float, int)
        Pixels in a unit of TIFF along x and y; 1 stands for none, 2 for inches and 3 for centimeters.
    tags : tuple of (int, int, int, value)
        Code, type, count and value of the tags of GeoTIFF.
    nodata : int or float
        The value of pixels without data.
    colors : tuple of (int, (int, int, int, int))
        Value of a label and its color in red, green, blue and opacity.
    flavor : str
        ``"imagej"`` or ``"ome"``: who described the pixels.
    """

    scale: tuple[float, ...] | None = None
    unit: str | None = None
    translation: tuple[float, ...] | None = None
    resolution: tuple[float, float, int] | None = None
    tags: tuple[tuple[int, int, int, Any], ...] = ()
    nodata: float | None = None
    colors: tuple[tuple[int, tuple[int, int, int, int]], ...] = ()
    flavor: str = ""

    def scales(self, axes: int) -> tuple[float, ...]:
        """Distance of the pixels along the last axes; 1 where it is not known."""
        return _last(self.scale, axes, 1.0)

    def translations(self, axes: int) -> tuple[float, ...]:
        """Place of the first pixel along the last axes; 0 where it is not known."""
        return _last(self.translation, axes, 0.0)

    def with_spacing(self, spacing: Sequence[float] | None) -> Place:
        """The place with the distances of its pixels, where the file does not say them."""
        known = self.scale is not None and (spacing is None or len(spacing) <= len(self.scale))
        return self if spacing is None or known else replace(self, scale=tuple(map(float, spacing)))

    def contradiction(self, spacing: Sequence[float] | None) -> str | None:
        """A line where the given distances have other ratios than those that the file says."""
        if spacing is None or self.scale is None or len(spacing) > len(self.scale):
            return None
        own = self.scales(len(spacing))
        if all(isclose(a * own[-1], b * spacing[-1], rel_tol=0.01) for a, b in zip(spacing, own, strict=True)):
            return None
        told, unit = ",".join(f"{size:.6g}" for size in own), f" {self.unit}" if self.unit else ""
        return f"--spacing is {','.join(f'{s:g}' for s in spacing)}, and the file says {told}{unit}: as you say."

    def to_json(self) -> dict[str, Any]:
        """What is known, as JSON can hold it."""
        return {name: value for name, value in asdict(self).items() if value not in (None, (), "")}

    @classmethod
    def from_json(cls, stored: Any) -> Place:
        """The place that :meth:`to_json` wrote; an empty one for anything else."""
        names = {field.name for field in fields(cls)}
        if not isinstance(stored, Mapping):
            return cls()
        try:
            place = cls(**{name: _tuples(value) for name, value in stored.items() if name in names})
            place.scales(3), place.translations(3), dict(place.colors)
        except (TypeError, ValueError):
            return cls()
        return place


def tiff_place(file: Any, page: Any, index: int) -> Place:
    """The place of an image of an open TIFF file.

    Parameters
    ----------
    file : tifffile.TiffFile
    page : tifffile.TiffPage
        Its first page.
    index : int
        Number of the image among those of the OME-XML.
    """
    tags = tuple((code, int(tag.dtype), tag.count, _plain(tag.value)) for code in GEO if (tag := page.tags.get(code)))
    place = Place(tags=tags, nodata=_nodata(page), resolution=_resolution(page))
    if file.is_ome and (pixels := ome_image(file.ome_metadata, index)) is not None:
        return _ome_place(place, pixels)
    return _imagej_place(place, file.imagej_metadata) if file.is_imagej and file.imagej_metadata else place


def ome_image(text: str | None, index: int) -> Any:
    """The element Pixels of an image in OME-XML; None where there is none."""
    try:
        images = [x for x in ElementTree.fromstring(text or "") if x.tag.rpartition("}")[2] == "Image"]
        return next(x for x in images[index] if x.tag.rpartition("}")[2] == "Pixels")
    except (ElementTree.ParseError, IndexError, StopIteration):
        return None


def ngff_place(multiscale: Mapping[str, Any], dataset: Mapping[str, Any], names: Sequence[str]) -> Place:
    """The place of the first level of an OME-Zarr image, whose transformations follow each other."""
    scale, translation = [1.0] * len(names), [0.0] * len(names)
    told = set()
    for step in [*dataset.get("coordinateTransformations", []), *multiscale.get("coordinateTransformations", [])]:
        kind = step["type"]
        values = [float(value) for value in step[kind]] if kind in ("scale", "translation") else []
        if values and len(values) != len(names):
            raise ValueError(f"a {kind} of {len(values)} numbers for {len(names)} axes")
        if kind == "scale":
            scale = [a * b for a, b in zip(scale, values, strict=True)]
            translation = [a * b for a, b in zip(translation, values, strict=True)]
        elif kind == "translation":
            translation = [a + b for a, b in zip(translation, values, strict=True)]
        told.add(kind)
    space = [names.index(axis) for axis in "zyx" if axis in names]
    axes = [axis for axis in multiscale["axes"] if isinstance(axis, Mapping)]
    units = [axis.get("unit") for axis in axes if axis.get("name") in ("y", "x")]
    return Place(
        scale=tuple(scale[k] for k in space) if "scale" in told else None,
        unit=next((str(unit) for unit in units if unit), None),
        translation=tuple(translation[k] for k in space) if "translation" in told else None,
        flavor="ome",
    )


def tiff_options(
    place: Place, name: str, axes: str, shape: tuple[int, ...], dtype: Any, *, tiled: bool = False
) -> dict[str, Any]:
    """What :func:`tifffile.imwrite` is told about a place.

    An ``.ome.tif`` is an OME-TIFF; what comes from ImageJ goes to ImageJ where that can hold it; other distances in a
    unit go into OME-XML; a GeoTIFF keeps its tags.

    Parameters
    ----------
    place : Place
    name : str
        Of the file.
    axes : str
        A letter for each axis.
    shape : tuple
    dtype : dtype
    tiled : bool
        The file is a BigTIFF of tiles, which ImageJ does not read.
    """
    spatial = sum(axis in "ZYX" for axis in axes)
    sizes, unit = place.scales(spatial), str(place.unit or "")
    extra = [*place.tags]
    if place.nodata is not None:
        text = f"{place.nodata:g}" if not float(place.nodata).is_integer() else str(int(place.nodata))
        extra.append((NODATA, 2, len(text) + 1, text))
    options: dict[str, Any] = {"metadata": {"axes": axes}, "extratags": [(*tag, True) for tag in extra]}
    if place.resolution is not None:
        options |= {"resolution": place.resolution[:2], "resolutionunit": place.resolution[2]}
    elif place.scale is not None and unit in CENTIMETERS:
        counts = tuple(1 / (size * CENTIMETERS[unit]) for size in sizes[:-3:-1])
        if all(1e-6 < count < 4e9 for count in counts):
            options |= {"resolution": counts, "resolutionunit": 3}
    named_ome = name.lower().endswith((".ome.tif", ".ome.tiff"))
    about: dict[str, Any]
    whole = str(dtype) in ("uint8", "uint16", "float32") and not tiled
    if place.flavor == "imagej" and whole and not named_ome and not place.tags and place.scale and "S" not in axes:
        about = {"axes": axes, "unit": UNITS[unit][1] if unit in UNITS else unit or "pixel"}
        about |= {"spacing": sizes[0]} if spatial == 3 else {}
        for key, size, at in zip("zyx"[-spatial:], sizes, place.translations(spatial), strict=True):
            about |= {f"{key}origin": -at / size} if at else {}
        counts = tuple(1 / size for size in sizes[:-3:-1])
        return options | {"imagej": True, "metadata": about, "resolution": counts, "resolutionunit": 1}
    small = str(dtype) not in ("int64", "uint64")  # OME-TIFF holds integers of 32 bits
    if named_ome or (small and place.scale is not None and not place.tags and (place.flavor or spatial == 3)):
        return options | {
            "ome": True,
            "metadata": {"axes": axes} | _ome_metadata(place, spatial, shape[0] if spatial == 3 else 1),
        }
    return options


def label_colors(values: Sequence[int]) -> tuple[tuple[int, tuple[int, int, int, int]], ...]:
    """A color for each value of a label: hues in golden steps, in three tones."""
    found = []
    for k, value in enumerate(values):
        rgb = hsv_to_rgb(0.618034 * k % 1, 0.85 - 0.1 * (k % 7), 0.95 - 0.2 * (k % 3))
        red, green, blue = (round(255 * part) for part in rgb)
        found.append((value, (red, green, blue, 255)))
    return tuple(found)


def _ome_metadata(place: Place, spatial: int, planes: int) -> dict[str, Any]:
    about: dict[str, Any] = {}
    sign = UNITS[place.unit][0] if place.unit in UNITS else "pixel" if place.unit is None else place.unit
    letters = "ZYX"[-spatial:]
    if place.scale is not None:
        for axis, size in zip(letters, place.scales(spatial), strict=True):
            about |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": sign}
    if place.translation is not None:
        about["Plane"] = {}
        for axis, at in zip(letters, place.translations(spatial), strict=True):
            step = place.scales(3)[0] if axis == "Z" else 0.0
            about["Plane"][f"Position{axis}"] = [at + k * step for k in range(planes)]
            about["Plane"][f"Position{axis}Unit"] = [sign] * planes
    return about


def _ome_place(place: Place, pixels: Any) -> Place:
    """The place with what the element Pixels of OME-XML says."""
    named = pixels.attrib
    axes = [axis for axis in "ZYX" if f"PhysicalSize{axis}" in named]
    scale, translation, unit = None, None, None
    if {"Y", "X"} <= set(axes):
        sizes = [size for axis in axes if (size := _positive(named[f"PhysicalSize{axis}"])) is not None]
        scale = tuple(sizes) if len(sizes) == len(axes) else None
        sign = named.get("PhysicalSizeXUnit", "µm")
        unit = None if sign in ("pixel", "reference frame") else SIGNS.get(sign, sign)
    plane: Mapping[str, str] = next((x.attrib for x in pixels if x.tag.rpartition("}")[2] == "Plane"), {})
    if "PositionX" in plane and "PositionY" in plane:
        translation = tuple(float(plane[f"Position{axis}"]) for axis in "ZYX" if f"Position{axis}" in plane)
        if len(translation) > len(scale or (1, 1)):
            translation = translation[1:]
    return replace(place, scale=scale, unit=unit, translation=translation, flavor="ome")


def _imagej_place(place: Place, told: Mapping[str, Any]) -> Place:
    """The place with what ImageJ says: pixels in a unit as resolution, distance of slices, origin in pixels."""
    unit = str(told.get("unit", "")).strip()
    unit = re.sub(r"\\u00[bB]5", "µ", unit)
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None
    if place.resolution is not None and unit and unit not in ("pixel", "pixels"):
        scale = (1 / place.resolution[1], 1 / place.resolution[0])
        slices = _positive(told.get("spacing"))
        scale = scale if slices is None else (slices, *scale)
    elif (slices := _positive(told.get("spacing"))) is not None:
        scale = (slices, 1.0, 1.0)
    if scale is not None and {"xorigin", "yorigin"} & set(told):
        at = [-float(told.get(f"{axis}origin", 0)) for axis in "zyx"[-len(scale) :]]
        translation = tuple(a * size for a, size in zip(at, scale, strict=True))
    unit = SIGNS.get(unit, unit) if scale is not None and unit not in ("pixel", "pixels") else ""
    return replace(place, scale=scale, unit=unit or None, translation=translation, resolution=None, flavor="imagej")


def _resolution(page: Any) -> tuple[float, float, int] | None:
    counts = []
    for code in (282, 283):
        tag = page.tags.get(code)
        value = tag.value if tag is not None and isinstance(tag.value, tuple) and len(tag.value) == 2 else (0, 0)
        counts.append(value[0] / value[1] if value[1] else 0.0)
    unit = page.tags.get(296)
    known = counts[0] > 0 and counts[1] > 0 and counts != [1.0, 1.0]
    return (counts[0], counts[1], int(unit.value) if unit is not None else 2) if known else None


def _nodata(page: Any) -> float | None:
    tag = page.tags.get(NODATA)
    if tag is None:
        return None
    try:
        text = str(tag.value).strip().strip("\0")
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else nan if text.lower() == "nan" else float(text)
    except ValueError:
        return None


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) and number > 0 else None


def _last(values: tuple[float, ...] | None, axes: int, missing: float) -> tuple[float, ...]:
    known = tuple(float(value) for value in values or ())[-axes:]
    return (missing,) * (axes - len(known)) + known


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
