"""Which addresses of machines count."""

import pytest

from steps.scrub.config import ScrubConfig
from steps.scrub.detector import Detector


@pytest.fixture(scope="module")
def default() -> Detector:
    return Detector(ScrubConfig())


def found(detector: Detector, text: str) -> list[str]:
    (findings,) = detector.find([text])
    return sorted({text[f.start : f.end] for f in findings or ()})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("host 192.168.10.77 is down", "192.168.10.77"),
        ("http://10.1.2.3:8080/x", "10.1.2.3"),
        ("node-1/10.1.2.3:7077 left", "10.1.2.3"),
        ("route 172.16.5.0/24 via eth0", "172.16.5.0/24"),
        ("from 2001:db8::8a2e:370:7334 port 22", "2001:db8::8a2e:370:7334"),
        ("http://[2001:db8:85a3:0:0:8a2e:370:7334]:8080/", "2001:db8:85a3:0:0:8a2e:370:7334"),
        ("inet6 fe80::1ff:fe23:4567:890a scope link", "fe80::1ff:fe23:4567:890a"),
        ("a private one, fd12:3456:789a:1::1", "fd12:3456:789a:1::1"),
        ("mapped ::ffff:10.1.2.3", "::ffff:10.1.2.3"),
        ("ip 2001::1", "2001::1"),
        ("link/ether 52:54:00:9d:0e:67 brd", "52:54:00:9d:0e:67"),
        ("Cisco 5254.009d.0e67", "5254.009d.0e67"),
    ],
)
def test_addresses(default: Detector, text: str, address: str) -> None:
    assert found(default, text) == [address]


@pytest.mark.parametrize(
    "text",
    [
        # Slices, names, clocks.
        "every second item: x[1::2], x[2::], y[::3], x[2001::2], (a)[2600::5], f()[3000::1]",
        "std::cout << a::b << face::cafe; ab::cd x = ad::f(); Fade::Bad::dead(); fdad::beef",
        "u8::MAX, c::d, DBI::db, Data::Map, 5::Int, 1 :: 2, 10::30, 2024::05",
        "12:34:56:78:90:12:34:56 and 00:11:22:33:44:55:66:77",
        # Whose machine is it? Everybody's, or nobody's.
        "listen on 127.0.0.1, 127.8.8.8:80, 0.0.0.0 and ::1, [::1]:80, ::, ::ffff:127.0.0.1, 0.0.0.0/0, ::/0",
        "netmask 255.255.255.0, broadcast 255.255.255.255, groups 224.0.0.251 and ff02::1, 10.0.0.0/8",
        "ff:ff:ff:ff:ff:ff, 00:00:00:00:00:00, 0000.0000.0000, dead.beef.cafe",
        # Versions, sections, identifiers of objects.
        "version 1.2.3.4, v1.2.3.4, numpy==1.2.3.4, Chrome/120.0.0.0 Safari/537.36, rfc7231#section-7.1.1.1",
        "section 8.2.4.44, OID 1.3.6.1.4.1.311, 1.3.6.1.4.1.311.2",
    ],
)
def test_what_only_looks_like_one(default: Detector, text: str) -> None:
    assert found(default, text) == []
