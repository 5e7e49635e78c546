"""Numbers and codes that count only behind their label, for the profiles: "MRN: 4471902", "CVV 123", track data.

Labels are English. The forms are ours (chosen), except where a source is named.
"""

import re
from collections.abc import Sequence

from steps.scrub.recognizers.forms import Form
from steps.scrub.recognizers.vin import VIN_CHECK, vin_check

RECOGNIZER = "label and number"
# Between a label and its value: "no.", "#", ":", "is", in any sensible mixture.
_LINK = r"[\s:=#.]{0,4}(?:(?:is|was|no|nr|number|id)\b[\s:=#.]{0,4}){0,2}"
_CODE = r"[A-Z0-9](?:[A-Z0-9-]{2,22}[A-Z0-9])"
# ISO 3779 / 49 CFR 565.15: no I, O or Q.
_VIN = r"[A-HJ-NPR-Z0-9]{17}"
# CMS, "Understanding the Medicare Beneficiary Identifier format": letters without S, L, O, I, B, Z.
_MBI_LETTER = "[AC-HJKMNP-RT-Y]"
_MBI_EITHER = "[0-9AC-HJKMNP-RT-Y]"
_MBI = rf"[1-9]{_MBI_LETTER}{_MBI_EITHER}[0-9]-?{_MBI_LETTER}{_MBI_EITHER}[0-9]-?{_MBI_LETTER}{{2}}[0-9]{{2}}"
_DECIMAL = r"[-+]?[0-9]{1,3}\.[0-9]{4,}(?:\s?°)?"
_DEGREES = r"[0-9]{1,3}\s?°\s?[0-9]{1,2}\s?['’′]\s?(?:[0-9]{1,2}(?:\.[0-9]+)?\s?(?:[\"”″]|''|’’)\s?)?"
_COORDINATES = (
    # A pair; one of three numbers or more is part of a list.
    rf"(?:^|[^\w.,+\s-]\s{{0,3}}|[^\d.,+\s-]\s{{1,3}})(?P<value>{_DECIMAL}(?:\s?[NS]\b)?,\s{{0,3}}{_DECIMAL}(?:\s?[EW]\b)?)"
    r"(?:[^\w.,]|[.,](?:[^\d\s]|\s+[^\d\s.+-]|\s*$)|$)",
    rf"(?i)\blat(?:itude)?[\s:=]{{1,3}}(?P<value>{_DECIMAL}(?:\s?[NS]\b)?[\s,;]{{1,3}}(?:and )?"
    rf"(?:lon|lng|long|longitude)[\s:=]{{1,3}}{_DECIMAL}(?:\s?[EW]\b)?)",
    rf"{_DEGREES}[NS][\s,;]{{0,3}}{_DEGREES}[EWO]\b",
)
_MAX_LATITUDE = 90
_MAX_LONGITUDE = 180


def presets(entities: Sequence[str]) -> list[Form]:
    """The forms of these entities."""
    return [form for form in _all() if form.entity in entities]


def _all() -> list[Form]:
    number = r"(?:number|numbers|no\b|nr\b|id\b|#)"
    plan = r"(?:insurance|plan|member|subscriber|beneficiary|policy|medicaid|medicare|group)"
    return [
        _labelled("MEDICAL_RECORD_NUMBER", r"MRN|medical record|(?:patient|chart|hospital) " + number, _CODE, 4),
        _labelled("HEALTH_PLAN_NUMBER", rf"(?:health )?{plan}(?: {plan})? ?{number}|MBI|HICN", _CODE, 4),
        Form("HEALTH_PLAN_NUMBER", rf"\b{_MBI}\b", recognizer=RECOGNIZER),
        _labelled("ACCOUNT_NUMBER", rf"(?:account|acct|a/c|customer)\.? ?{number}", _CODE, 5),
        _labelled("LICENSE_NUMBER", rf"(?:licen[cs]e|certificate|permit|passport|registration) ?{number}", _CODE, 4),
        Form("VEHICLE_ID", rf"\b{_VIN}\b", confirm=_is_vin, recognizer=RECOGNIZER),
        _labelled("VEHICLE_ID", r"VIN|vehicle identification", _VIN, 4),
        _labelled(
            "VEHICLE_ID",
            rf"(?:licen[cs]e|number|registration) plates?|plate {number}",
            r"[A-Z0-9]{1,4}[ -]?[A-Z0-9]{2,5}",
            1,
        ),
        _labelled("DEVICE_ID", rf"(?:serial|device) ?{number}|S/N|IMEI|MEID|UDID|IDFA|GAID|android id", _CODE, 4),
        Form("CARD_TRACK", r"%?[Bb][0-9]{12,19}\^[^\^\r\n]{2,26}\^[0-9]{7,}[^?\r\n]{0,40}\??", recognizer=RECOGNIZER),
        Form("CARD_TRACK", r";?\b[0-9]{12,19}=[0-9]{7,20}\??", recognizer=RECOGNIZER),
        _labelled(
            "CARD_VERIFICATION", r"CVV2?|CVC2?|CSC|card verification (?:code|value)|security code", "[0-9]{3,4}", 3
        ),
        _labelled(
            "CARD_EXPIRY",
            r"exp|exp(?:iry|ires|iration|\.)(?: date)?|valid (?:thru|through|until)",
            r"(?:0[1-9]|1[0-2]) ?[/-] ?(?:20)?[0-9]{2}",
            3,
        ),
        *(Form("COORDINATES", regex, confirm=_on_earth, recognizer=RECOGNIZER) for regex in _COORDINATES),
    ]


def _labelled(entity: str, labels: str, value: str, digits: int) -> Form:
    """Behind one of the labels, a value with at least so many digits."""
    regex = rf"(?i)\b(?:{labels}){_LINK}\b(?P<value>{value})\b"
    return Form(entity, regex, confirm=lambda found: sum(c.isdigit() for c in found) >= digits, recognizer=RECOGNIZER)


def _is_vin(value: str) -> bool:
    """The check digit of 49 CFR 565.15 (North America) holds, and letters and digits are mixed."""
    if value.isdigit() or value.isalpha():
        return False
    return value[VIN_CHECK] == vin_check(value)


def _on_earth(value: str) -> bool:
    """Whether the degrees can be a place's; two numbers under 1 are shares likelier than the sea off Ghana."""
    numbers = [abs(float(n)) for n in re.findall(r"\d+(?:\.\d+)?", value)]
    latitude, longitude = (numbers[0], numbers[len(numbers) // 2])
    return latitude <= _MAX_LATITUDE and longitude <= _MAX_LONGITUDE and max(latitude, longitude) >= 1
