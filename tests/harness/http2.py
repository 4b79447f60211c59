"""As much of HTTP/2 as it takes to see gRPC calls pass by: frames, and the method that a request names."""

# RFC 7541 appendix A; values matter only for the entries that a request's path can use.
_STATIC = [
    ":authority", ":method", ":method", ":path", ":path", ":scheme", ":scheme", ":status", ":status", ":status",
    ":status", ":status", ":status", ":status", "accept-charset", "accept-encoding", "accept-language",
    "accept-ranges", "accept", "access-control-allow-origin", "age", "allow", "authorization", "cache-control",
    "content-disposition", "content-encoding", "content-language", "content-length", "content-location",
    "content-range", "content-type", "cookie", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "link", "location",
    "max-forwards", "proxy-authenticate", "proxy-authorization", "range", "referer", "refresh", "retry-after",
    "server", "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent", "vary", "via",
    "www-authenticate"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS = 1
CONTINUATION = 9
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20


class Hpack:
    """The receiver's table of one direction. gRPC writes paths without Huffman coding; others are called '?'."""

    def __init__(self):
        self.table = []
        self.limit = 4096

    def _entry(self, index):
        if index <= len(_STATIC):
            return _STATIC[index - 1], ""
        return self.table[index - len(_STATIC) - 1]

    def _shrink(self):
        while sum(len(name) + len(value) + 32 for name, value in self.table) > self.limit:
            self.table.pop()

    def path(self, block):
        at = 0
        path = None

        def number(bits):
            nonlocal at
            mask = (1 << bits) - 1
            value = block[at] & mask
            at += 1
            if value == mask:
                shift = 0
                while True:
                    byte = block[at]
                    at += 1
                    value += (byte & 0x7f) << shift
                    shift += 7
                    if not byte & 0x80:
                        break
            return value

        def text():
            nonlocal at
            huffman = block[at] & 0x80
            length = number(7)
            raw = block[at:at + length]
            at += length
            return "?" * length if huffman else raw.decode("latin-1")

        while at < len(block):
            first = block[at]
            if first & 0x80:
                name, value = self._entry(number(7))
            elif first & 0xe0 == 0x20:
                self.limit = number(5)
                self._shrink()
                continue
            else:
                keep = first & 0x40
                index = number(6 if keep else 4)
                name = self._entry(index)[0] if index else text()
                value = text()
                if keep:
                    self.table.insert(0, (name, value))
                    self._shrink()
            if name == ":path":
                path = value
        return path


class Calls:
    """Cuts both directions of one connection into frames, and says which frame begins a request or a reply."""

    def __init__(self):
        self.hpack = Hpack()
        self.methods = {}  # by stream, until the reply has begun
        self.rest = {"request": b"", "reply": b""}
        self.block = {"request": b"", "reply": b""}
        self.preface = False

    def feed(self, direction, data):
        """Yields (bytes to pass on, method or None) in order."""
        rest = self.rest[direction] + data
        if direction == "request" and not self.preface:
            if len(rest) < len(PREFACE):
                self.rest[direction] = rest
                return
            self.preface = True
            yield rest[:len(PREFACE)], None
            rest = rest[len(PREFACE):]
        while len(rest) >= 9:
            length = 9 + int.from_bytes(rest[:3], "big")
            if len(rest) < length:
                break
            frame, rest = rest[:length], rest[length:]
            self.rest[direction] = rest
            yield frame, self._method(direction, frame)
        self.rest[direction] = rest

    def _method(self, direction, frame):
        kind, flags = frame[3], frame[4]
        if kind not in (HEADERS, CONTINUATION):
            return None
        stream = int.from_bytes(frame[5:9], "big")
        if direction == "reply":
            return self.methods.pop(stream, None)
        payload = frame[9:]
        if kind == HEADERS:
            if flags & _PADDED:
                payload = payload[1:len(payload) - payload[0]]
            if flags & _PRIORITY:
                payload = payload[5:]
            self.block[direction] = b""
        self.block[direction] += payload
        if not flags & _END_HEADERS:
            return None
        path = self.hpack.path(self.block[direction])
        if path is None:
            return None
        self.methods[stream] = path.rsplit("/", 1)[-1]
        return self.methods[stream]
