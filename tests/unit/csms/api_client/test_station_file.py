"""stations.csv."""

from pathlib import Path

import pytest

from csms.api_client.session import ApiFailed
from csms.api_client.station_file import read_stations

HEADER = "identity,serial_number,security_profile"


def test_a_line_becomes_a_registration(tmp_path: Path) -> None:
    file = tmp_path / "stations.csv"
    file.write_bytes(
        b"\xef\xbb\xbf"
        + f"{HEADER},groups,registration_status\r\n".encode()
        + b"CS-1, SN-1 ,2,depot; north,Pending\r\nCS-2,SN-2,3,,\r\n"
    )
    assert read_stations(file) == [
        {
            "identity": "CS-1",
            "serial_number": "SN-1",
            "security_profile": 2,
            "groups": ["depot", "north"],
            "registration_status": "Pending",
        },
        {"identity": "CS-2", "serial_number": "SN-2", "security_profile": 3},
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the header must name"),
        ("identity,serial_number\nCS-1,SN-1\n", "the header must name"),
        (f"{HEADER},password\nCS-1,SN-1,2,x\n", "the header must name"),
        (f"{HEADER},identity\nCS-1,SN-1,2,CS-2\n", "the header must name"),
        (f"{HEADER}\nCS-1,SN-1,2\nCS-2,SN-2\n", "line 3: more or fewer"),
        (f"{HEADER}\nCS-1,SN-1,2,more\n", "line 2: more or fewer"),
        (f"{HEADER}\nCS-1,SN-1,two\n", "line 2: security_profile must be"),
        (f'{HEADER}\n"CS-1"x,SN-1,2\n', "line 2"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "stations.csv"
    file.write_text(text)
    with pytest.raises(ApiFailed, match=words):
        read_stations(file)


def test_what_is_no_text_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "stations.csv"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ApiFailed, match="UTF-8"):
        read_stations(file)
    with pytest.raises(ApiFailed, match="cannot be read"):
        read_stations(tmp_path / "none.csv")
