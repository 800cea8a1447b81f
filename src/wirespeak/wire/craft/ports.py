"""UDP ports whose language is fixed: anything else sent there reads as a broken message of that language."""

from __future__ import annotations

# Where Wireshark 4.0's dissectors (`tshark -G decodes`) called readings and noise of 25 sizes malformed.
_TAKEN = frozenset((
    49, 53, 67, 68, 88, 123, 137, 138, 173, 213, 319, 320, 389, 427, 434, 464, 496, 500, 513, 520, 521, 524,
    525, 631, 664, 701, 854, 910, 921, 1153, 1194, 1628, 1629, 1701, 1718, 1719, 1745, 1755, 2067, 2123,
    2152, 2222, 2268, 2269, 2313, 2345, 2428, 2945, 2948, 3130, 3250, 3343, 3357, 3386, 3389, 3452, 3455,
    3544, 3671, 3784, 3804, 3863, 4306, 4307, 4341, 4342, 4500, 4533, 4534, 4551, 4729, 4754, 4784, 4789,
    4790, 4791, 4991, 5000, 5031, 5072, 5246, 5247, 5353, 5355, 5436, 5683, 6081, 6118, 6160, 6635, 6784,
    6970, 7074, 7275, 7784, 8161, 8200, 8611, 8612, 8613, 8614, 8767, 8805, 8848, 9200, 9201, 9875, 9899,
    9956, 10253, 11273, 12220, 12222, 12223, 13400, 17220, 17755, 17756, 19132, 23272, 24576, 24577, 25826,
    26000, 27500, 27910, 27960, 27963, 30030, 34962, 34980, 37008, 41170, 44818, 47000, 54328,
))  # fmt: skip


def is_free(port: int) -> bool:
    """Whether datagrams of any content may go to this port."""
    return port not in _TAKEN


def free_port(port: int) -> int:
    """This port, or the next free one."""
    while not is_free(port):
        port += 1
    return port
