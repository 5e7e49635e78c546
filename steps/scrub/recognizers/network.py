"""IP_ADDRESS and MAC_ADDRESS: which of the things that have their form are addresses of somebody's machine.

Much code has their form: slices (`x[1::2]`), names (`a::b`, `face::cafe`), clocks, versions. An IPv6 address is one of
a range that is given out (IANA, "Internet Protocol Version 6 Address Space"), an IPv4 address no part of a longer
number. Whoever has a private address (RFC 1918, RFC 4193) or one for documentation isn't known from it alone, but it is
one machine's, and is replaced; addresses that every machine has, or none, stay.
"""

import ipaddress
import re

# Global unicast, private use, and links: what hosts have. The rest isn't given out.
_IPV6_NETWORKS = tuple(map(ipaddress.IPv6Network, ("2000::/3", "fc00::/7", "fe80::/10", "64:ff9b::/96")))
# Groups of two characters are those of an EUI-64 or a clock; decimal ones, at most two, those of a slice.
_EUI_64 = re.compile(r"(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}")
_SLICE = re.compile(r"[0-9]*::[0-9]*")
_SUBSCRIPT = re.compile(r"[\w)\]'\"] ?\[ ?\Z")
# 1.3.6.1.4.1.311; version 1.2.3.4, section 1.2.3.4, package==1.2.3.4
_LONGER_BEFORE, _LONGER_BEHIND = re.compile(r"\d\.\Z"), re.compile(r"\.\d")
_NUMBERED = re.compile(
    r"(?i)(?:\b(?:version|ver|release|build|revision|rev|firmware|driver|sections?|sec|chapter|clause|figure|table|appendix"
    r"|oid)\b[\s.:=\"'#-]{0,3}|\bv[ .]?|§ ?|[=><~!]=[\s\"']?)\Z"
)
_BEFORE_CHARACTERS = 16
_NOBODYS_MAC = re.compile(r"(?i)(?:0{2}[:-]?){6}|(?:ff[:-]?){6}|(?:0{4}\.?){3}|(?:f{4}\.?){3}")
_MORE_BEFORE, _MORE_BEHIND = re.compile("[0-9A-Fa-f][:-]"), re.compile("[:-][0-9A-Fa-f]")
# dead.beef.cafe
_WORDS = re.compile(r"[A-Fa-f]{4}\.[A-Fa-f]{4}\.[A-Fa-f]{4}")


def is_ip(text: str, start: int, end: int, in_context: bool) -> bool:
    """Whether text[start:end], which has the form of one, is an address of a machine. `in_context`: "ip" before it."""
    written = text[start:end].partition("/")[0]
    before = text[max(0, start - _BEFORE_CHARACTERS) : start]
    if ":" not in written:
        return _is_ipv4(written, before, text[end : end + 2])
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return False
    if address.ipv4_mapped or ("." in written and address.packed[:12] == bytes(12)):
        return _is_a_machines(ipaddress.IPv4Address(address.packed[12:]))
    if _SUBSCRIPT.search(before) or _EUI_64.fullmatch(written) or (_SLICE.fullmatch(written) and not in_context):
        return False
    given_out = any(address in network for network in _IPV6_NETWORKS)
    # "fade::fed": names have no digits.
    return given_out and any(c.isdigit() for c in written) and _is_a_machines(address)


def _is_ipv4(written: str, before: str, behind: str) -> bool:
    if _LONGER_BEFORE.search(before) or _LONGER_BEHIND.match(behind) or _NUMBERED.search(before):
        return False
    # Leading zeros, which ipaddress refuses, are written in logs.
    return _is_a_machines(ipaddress.IPv4Address(bytes(map(int, written.split(".")))))


def _is_a_machines(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Not loopback, unspecified, multicast, "this network", a mask or broadcast, nor a whole network (10.0.0.0)."""
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return False
    if address.version == 6:
        return True
    return not address.is_reserved and address.packed[0] != 0 and address.packed[1:] != bytes(3)


def is_mac(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is a card's own address: not everybody's, no three words, no part of a longer number."""
    value = text[start:end]
    if _NOBODYS_MAC.fullmatch(value) or _WORDS.fullmatch(value):
        return False
    before, behind = text[max(0, start - 2) : start], text[end : end + 2]
    return not (_MORE_BEFORE.fullmatch(before) or _MORE_BEHIND.fullmatch(behind))
