"""Finds what is likely personal data in a text: addresses, numbers of phones, people and cards."""

import re

EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
NUMBER = re.compile(r"(?<![A-Za-z0-9_.])\+?\(?\d[\d \-.()/]{6,22}[\dXx](?![A-Za-z0-9_.]*\d)")
CHINESE_ID = re.compile(r"(?<!\d)[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
                        r"\d{3}[\dXx](?![\dA-Za-z])")
US_ID = re.compile(r"(?<!\d)(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?!\d)")
DATE = re.compile(r"(?:19|20)\d{2}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](?:19|20)\d{2}"
                  r"|(?:19|20)\d{2} ?[-–] ?(?:19|20)\d{2}")
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999


def kinds(text: str) -> set[str]:
    """Which of 'e-mail', 'phone number', 'ID number', 'card number' a text likely holds."""
    found = set()
    if "@" in text and EMAIL.search(text):
        found.add("e-mail")
    if not any(map(str.isdigit, text)):
        return found
    if US_ID.search(text) or any(map(is_chinese_id, CHINESE_ID.findall(text))):
        found.add("ID number")
    for match in NUMBER.finditer(text):
        kind = _number_kind(match.group())
        if kind:
            found.add(kind)
    return found


def is_chinese_id(number: str) -> bool:
    """Whether the check sign of an 18-sign resident identity number is right."""
    total = sum(int(d) * w for d, w in zip(number, WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == number[-1].upper()


def _number_kind(written: str) -> str:
    digits = re.sub(r"\D", "", written)
    if CHINESE_ID.fullmatch(re.sub(r"\s", "", written)) or US_ID.fullmatch(written):
        return ""
    if 13 <= len(digits) <= 19 and _passes_luhn(digits) and len(set(digits)) > 1:
        return "card number"
    if re.fullmatch(r"(?:\+?86)?1[3-9]\d{9}", re.sub(r"[ \-]", "", written)):
        return "phone number"
    parts = re.findall(r"\d+", written)
    grouped = 3 <= len(parts) <= 6 and all(len(part) <= 5 for part in parts)
    formed = grouped or (len(parts) == 2 and written[0] in "0(") or written[0] == "+"
    looks_so = 9 <= len(digits) <= 15 and formed and not DATE.search(written)
    return "phone number" if looks_so and "." not in written else ""


def _passes_luhn(digits: str) -> bool:
    doubled = [int(d) * 2 if i % 2 else int(d) for i, d in enumerate(reversed(digits))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0
