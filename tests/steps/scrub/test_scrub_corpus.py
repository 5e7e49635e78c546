"""Code, logs and sentences of many scripts, with known truth: everything planted is found, and nothing else.

`«...»` marks what is personal; the marks are taken out before the search.
"""

import re

import pytest

from steps.scrub.config import ScrubConfig
from steps.scrub.detectors import Detectors
from steps.scrub.redactor import Redactor

CODE = """\
def call(port: int, id: int) -> bytes:
    number = 4915112345671
    return self.call(2125550142, id=5551234567)  # call 2125550142[0]
for cell in row[1::2]: cell = 2125550142
std::vector<int> v; face::cafe(a::b); x = y[2001::2];
const int call = 2125550142; port number 2125550142; obj->cell 2125550142
Traceback (most recent call last): expected 50331648
listen 127.0.0.1:8080; bind("0.0.0.0", 80); ping ::1; mask 255.255.255.0
requests==2.31.0.4; // see section 8.2.4.44 of version 1.2.3.4
time = "10:20:30"; mac = "00:00:00:00:00:00"; p = 0xdeadbeef; q = (66528)/70723
assert f(66528) == 70723.12; Decimal("+35236450.6"); email = "user@localhost"
ADMIN = "«jane.roe@example.org»"; HOST = "«192.168.10.24»"; PHONE = "«+1 212 555 0142»"
href="mailto:«jane%40example.org»"; text="«jane&#64;example.org»"; s = "«jane\\u0040example.org»"
""".splitlines()
LOGS = """\
2026-05-17T10:20:30.123Z INFO [main] o.a.k.Client - connected to localhost/127.0.0.1:9092 in 1234567 ms
«192.168.10.24» - - [17/May/2026:10:20:30 +0000] "GET /a?b=c HTTP/1.1" 200 5316 "-" "Mozilla/5.0 Chrome/120.0.0.0"
May 17 10:20:30 host sshd[12345]: Accepted publickey for root from «2001:db8::8a2e:370:7334» port 51234 ssh2
kernel: eth0: link up, «52:54:00:9d:0e:67», 1000Mbps; pid 1234567890 uid 1000 tid 9876543210
WARN pool-1-thread-3 took 2125550142 ns; id: 2125550142; order number 2125550142; trace 7f3a2b1c9d8e4f60
ERROR mail to «jane.roe@example.org» bounced: 550 5.1.1 «10.1.2.3» said no
at java.base/java.lang.Thread.run(Thread.java:1583) ~[?:?] {hash=9e107d9d372bb6826bd81d3542a419d6}
""".splitlines()
URLS = """\
see https://shop.example/o?email=«jane%40example.org»&tel=«%2B12125550142» and https://shop.com/?to=«jane@example.org»#x
https://a.example/users/«jane.roe@example.org»/edit?ip=«203.0.113.77»&next=%2Fu%3Fm%3D«jane%2540example.org»
mailto:«jane@example.org»?cc=«bob@example.org»&subject=hi or tel:«+12125550142»;x=1
from=«news+jane=example.org@lists.org», guest «jane_example.org#EXT#@tenant.org», q=«jane.roe+promo@example.org»
<img src="data:image/svg+xml;utf8,<svg><text>«jane@example.org»</text></svg>"> data:text/plain,«jane%40example.org»
data:image/png;base64,RCCCPP3m8cJrMPkOx90B5Ih1NKIPCw0Ew27YDnHg/XewdnDrlAvVM1+XParYYZuR/8kR9XzO1Fi7vyzgN1PJ
""".splitlines()
SCRIPTS = {
    "Japanese": "第3章の1234567件、メールは«taro@example.jp»まで。電話番号は«03-1234-5678»です。«192.168.1.10»で",
    "Chinese": "共1234567人，请联系«zhang.wei@example.cn»谢谢，电话是«13812345678»，卡«4111111111111111»在«10.1.2.3»吗",
    "Korean": "1234567개, 이메일은«hong@example.kr»입니다. 전화는 «010-1234-5678»로, 서버는«192.168.1.10»에서",
    "Cyrillic": "1234567 рублей, почта:«ivan@example.ru»тел, телефон «8 912 345-67-89», сервер«192.168.1.10»и",
    "Thai": "1234567คน อีเมล«somchai@example.co.th»ครับ โทร«081-234-5678»เครื่อง«192.168.1.10»และ",
    "Arabic": "و1234567 البريد«omar@example.org»هنا، هاتف «0100 123 4567» والخادم«192.168.1.10»و",
    "Devanagari": "कुल1234567 ईमेल«ravi@example.in»पर, फ़ोन «098 1234 5678», सर्वर«192.168.1.10»है",
    "Greek": "με1234567 ηλεκτρονικά«nikos@example.gr»και τηλέφωνο «210 123 4567» στο«192.168.1.10»με",
    "Hebrew": "עם1234567 דואר«dana@example.org»או טלפון «02-123-4567» בשרת«192.168.1.10»עם",
    "full width": "メールは«ｔａｒｏ＠ｅｘａｍｐｌｅ．ｊｐ»、ＩＰは«１９２．１６８．１．７»です",
    "secrets": "キーは«AKIAIOSFODNN7EXAMQLE»です。口座は«DE89370400440532013000»で、МАК«52:54:00:9d:0e:67»да",
    "numbers": "SSNは«536-90-4399»、カードは«4111-1111-1111-1111»です。カードは4111-1111-1111-1112です。",
    "German": "Am 03/2026, 1/2 und 3/4567: «030/1234567», mobil «0171/123 45 67» oder «(030) 1234567»",
}  # fmt: skip


@pytest.mark.parametrize("marked", [*CODE, *LOGS, *URLS, *SCRIPTS.values()])
def test_what_was_planted_is_found_and_nothing_else(detectors: Detectors, marked: str) -> None:
    text = re.sub("[«»]", "", marked)
    found = Redactor(ScrubConfig(), b"k" * 32).find([text], detectors)[text]
    assert found is not None
    assert [text[f.start : f.end] for f in found] == re.findall("«(.*?)»", marked)


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return Detectors(ScrubConfig())


def test_the_corpus_has_all_kinds() -> None:
    planted = sum(line.count("«") for line in [*CODE, *LOGS, *SCRIPTS.values()])
    assert (planted, len(CODE), len(LOGS), len(SCRIPTS)) == (49, 13, 7, 13)


def test_words_of_the_config_are_found_beside_letters_of_their_script() -> None:
    config = ScrubConfig(deny={"NAME": ("田中", "홍길동", "Иван", "Roe")})
    texts = ["明日田中さんが来ます", "홍길동입니다", "Иванов и Иван", "Roeさん, Roemer"]
    found = Detectors(config).find(texts)
    assert [[t[f.start : f.end] for f in found[t] or ()] for t in texts] == [["田中"], ["홍길동"], ["Иван"], ["Roe"]]
