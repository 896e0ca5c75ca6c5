"""Protocol buffers on the wire, as far as the CRI needs them.

A message is a dict; a description of it maps each field's name to (number, kind), the kind being
"string", "bytes", "int", "bool", a further description, [kind] for repeated ones, or "map" for
string to string. https://protobuf.dev/programming-guides/encoding/
"""

VARINT, BYTES = 0, 2


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, kind, value):
    if isinstance(kind, list):
        return b"".join(field(number, kind[0], each) for each in value)
    if kind == "map":
        pair = {"key": (1, "string"), "value": (2, "string")}
        return b"".join(field(number, pair, {"key": key, "value": each}) for key, each in value.items())
    if kind in ("int", "bool"):
        return varint(number << 3 | VARINT) + varint(int(value))
    data = encode(kind, value) if isinstance(kind, dict) else value.encode() if kind == "string" else value
    return varint(number << 3 | BYTES) + varint(len(data)) + data


def encode(description, message):
    return b"".join(field(*description[name], value) for name, value in message.items())


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def split(data):
    """The fields of a message as (number, value)."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = read_varint(data, at)
        elif kind == BYTES:
            length, at = read_varint(data, at)
            value, at = data[at:at + length], at + length
        else:
            length = 8 if kind == 1 else 4
            value, at = data[at:at + length], at + length
        yield key >> 3, value


def decode(description, data):
    """The fields that are described; absent ones are absent."""
    names = {number: (name, kind) for name, (number, kind) in description.items()}
    message = {}
    for number, value in split(data):
        if number not in names:
            continue
        name, kind = names[number]
        if isinstance(kind, list):
            message.setdefault(name, []).append(plain(kind[0], value))
        else:
            message[name] = plain(kind, value)
    return message


def plain(kind, value):
    if isinstance(kind, dict):
        return decode(kind, value)
    if kind == "string":
        return value.decode(errors="replace")
    if kind == "int":
        return value - (1 << 64) if value >> 63 else value
    return bool(value) if kind == "bool" else value
