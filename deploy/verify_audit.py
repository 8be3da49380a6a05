#!/usr/bin/env python3
"""Verifies an audit log of pci-segment with nothing but Python 3.9, from its published format.

  verify_audit.py --database state.db --key KEY --anchor file:/mnt/anchor/notes.jsonl
  verify_audit.py --export january.jsonl.gz --export february.jsonl.gz --key KEY

Exit: 0 good; 1 good, but (--strict); 2 could not read; 10 a row; 11 the chain; 12 a signature; 13 a lost tail; 14 two histories;
15 rows or a segment missing."""
import argparse, base64, collections, contextlib, datetime, errno, functools, hashlib, json, os, pathlib, re, sqlite3, stat, struct, sys, zlib

MAGIC, LINE_MAX, NOTE_MAX = b"pci-segment.audit.v1\0", 1 << 20, 64 * 1024
ROW = dict(seq=64, ts_ns=-64, epoch=64, event_id=str, prev=str, kind=str, actor=str, origin=str, object=str, outcome=8,
           commit=None, plan=None, payload=str, leaf=str, hash=str)

class Unreadable(Exception): pass
class CutOff(Unreadable): pass
class Fault(Exception):
    def __init__(self, code, text): super().__init__(text); self.code = code
class NotOurs(Exception): pass  # a text that is no note, no key, no line

# Ed25519 as RFC 8032 section 5.1 has it, with points of small order refused.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT = -121665 * pow(121666, P - 2, P) % P, pow(2, (P - 1) // 4, P)
def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P
def decompress(data):
    y, sign = int.from_bytes(data, "little") & (2**255 - 1), data[31] >> 7
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P: x = x * ROOT % P
    if (x * x - x2) % P: return None
    if x & 1 != sign: x = -x % P
    return x, y % P, 1, x * y % P
BASE = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
def encode(p):
    inverse = pow(p[2], P - 2, P)
    return (p[1] * inverse % P | (p[0] * inverse % P & 1) << 255).to_bytes(32, "little")
def is_small(p):
    for _ in range(3): p = add(p, p)
    return p[0] % P == 0 and (p[1] - p[2]) % P == 0
@functools.lru_cache(maxsize=4096)
def signed(public, text, signature):
    if len(signature) != 64: return False
    a, r, s = decompress(public), decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or is_small(a) or is_small(r): return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + text).digest(), "little") % L
    minus, sum_ = (-a[0] % P, a[1], 1, -a[3] % P), (0, 1, 1, 0)
    both = add(BASE, minus)
    for bit in range(252, -1, -1):  # [s]B - [k]A in one walk
        sum_ = add(sum_, sum_)
        which = (s >> bit & 1) | (k >> bit & 1) << 1
        if which: sum_ = add(sum_, (BASE, minus, both)[which - 1])
    return encode(sum_) == signature[:32]

def short(data): return data.hex()[:16] + "…"
def b64(text):
    try: data = base64.b64decode(text, validate=True)
    except ValueError: raise NotOurs("base64")
    if base64.b64encode(data).decode() != text: raise NotOurs("base64")
    return data
def is_control(text): return any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
def is_name(text):
    return 0 < len(text.encode()) <= 255 and "+" not in text and not is_control(text) and not any(c.isspace() for c in text)
Key = collections.namedtuple("Key", "name id public text")
def parse_key(text):
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not is_name(parts[0]): raise NotOurs("not a verifier key")
    data = b64(parts[2])
    if len(data) != 33 or data[0] != 1 or decompress(data[1:]) is None: raise NotOurs("not an Ed25519 key")
    key_id = hashlib.sha256(parts[0].encode() + b"\n" + data).digest()[:4]
    if key_id.hex() != parts[1]: raise NotOurs("the id is not that of the key")
    return Key(parts[0], key_id, data[1:], text)
def parse_note(text):
    if len(text.encode()) > NOTE_MAX or is_control(text.replace("\n", "")): raise NotOurs("not a note")
    body, gap, below = text.rpartition("\n\n")
    lines, signatures = body.split("\n"), []
    if not gap or not below.endswith("\n") or len(lines) < 3: raise NotOurs("not a note")
    if lines[-1] == "" or "" in lines[3:] or not is_name(lines[0]): raise NotOurs("not a note")
    if not re.fullmatch(r"0|[1-9][0-9]{0,19}", lines[1]) or int(lines[1]) >= 2**64: raise NotOurs("no size")
    for line in below[:-1].split("\n"):
        found = re.fullmatch(r"— (\S+) (\S+)", line)
        data = b64(found[2]) if found and is_name(found[1]) else b""
        if len(data) < 5: raise NotOurs("not a signature line")
        signatures.append((found[1], data[:4], data[4:]))
    root = b64(lines[2])
    if len(root) != 32: raise NotOurs("no root")
    return lines[0], int(lines[1]), root, (body + "\n").encode(), signatures

Claim = collections.namedtuple("Claim", "size root origin sink at")
class Evidence:
    """Signed notes: those kept with the log, and those kept elsewhere."""
    def __init__(self, keys): self.keys, self.stored, self.seen, self.asked, self.bad, self.remarks = keys, [], [], [], None, []
    def refuse(self, by, why): self.bad = self.bad or Fault(12, f"{by}: {why}")
    def note(self, by, text, sink, at=None, columns=None):
        try:
            origin, size, root, body, signatures = parse_note(text)
            held = 0
            for key in self.keys:
                ours = [s for name, key_id, s in signatures if (name, key_id) == (key.name, key.id)]
                if ours and not all(signed(key.public, body, s) for s in ours):
                    raise NotOurs(f"signature does not verify with {key.text}")
                held += bool(ours)
            if not held: raise NotOurs("no signature by a known key")
            if columns and columns != (origin, size, root): raise NotOurs("its columns differ from its note")
        except NotOurs as why: return self.refuse(by, why)
        (self.seen if sink else self.stored).append(Claim(size, root, origin, sink, at))
    def anchor(self, name):
        if not name.startswith("file:"): raise Unreadable(f"cannot read the anchor {name}: name a file with file:/PATH")
        self.asked.append(name)
        try:
            for number, line in enumerate(lines(name[5:], False), 1):
                try:
                    entry = obj(line, dict(put_at=str, note=str))
                    when = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?Z", entry["put_at"], re.ASCII)
                    at = datetime.datetime(*map(int, when.groups()), tzinfo=datetime.timezone.utc) if when else None
                    if at is None or at.year == 9999: raise NotOurs("a time")
                    self.note(name, entry["note"], name, at)
                except (NotOurs, ValueError): self.refuse(f"{name}, line {number}", "not a line of an anchor")
        except CutOff: self.remarks.append(f"the last line of {name} is cut off")
    def given_up(self, claim, chain):
        def other(seq, size, root): return size > seq or size in chain.roots and (chain.roots[size][0] or b"").hex() != root
        # Without a note of the next origin over it, anybody could have written the row of a fork.
        def vouched(seq, origin):
            return any(c.size > seq and c.origin != origin and c.size in chain.roots and chain.roots[c.size][0] == c.root for c in self.stored + self.seen)
        return any(claim.origin == origin and vouched(seq, origin)
                   and (claim.size > seq or any(size >= claim.size and other(seq, size, root) for size, root in named))
                   for seq, origin, named in chain.forks)
    def judge(self, chain, end):
        for c in sorted(self.seen, key=lambda c: c.size) + sorted(self.stored, key=lambda c: c.size):
            if chain.first or (end is not None and c.size > end) or self.given_up(c, chain): continue
            if c.size not in chain.roots: raise shorter(chain, c)
            root = chain.roots[c.size][0]
            if root != c.root and not c.sink: raise Fault(12, f"checkpoint {c.size}: root differs from the rows")
            if root != c.root: raise Fault(14, f"two histories: {c.sink} signed root {short(c.root)} at {c.size}, these rows give {short(root)}")
        if self.bad: raise self.bad
    def weak(self, chain):
        ours = [c for c in self.seen if c.sink in self.asked]
        if chain.forks or chain.first or not ours or self.remarks: return True
        newest, now = max(c.at for c in ours), datetime.datetime.now(datetime.timezone.utc)
        return now - newest > datetime.timedelta(hours=24) or max(c.size for c in self.stored + self.seen) < chain.next
def shorter(chain, c):
    return Fault(13, f"log has {chain.next} rows, {c.sink or 'a checkpoint'} signed {c.size}: {c.size - chain.next} rows are missing")

def parse_leaf(leaf):
    def take(n):
        nonlocal at
        if at + n > len(leaf): raise NotOurs("it ends in the middle of a field")
        at += n
        return leaf[at - n:at]
    def lp(lengths=None):
        data = take(struct.unpack(">I", take(4))[0])
        if lengths and len(data) not in lengths: raise NotOurs("a field of a wrong length")
        return data
    at, texts = len(MAGIC), []
    if len(leaf) > 65535 or not leaf.startswith(MAGIC): raise NotOurs("it does not begin like a row")
    seq, ts, epoch = struct.unpack(">QqQ", take(24))
    event_id, prev = take(16), take(32)
    try:
        texts = [lp().decode() for _ in range(4)]
        outcome, commit, plan, payload = take(1)[0], lp((0, 20, 32)), lp((0, 32)), lp().decode()
    except UnicodeDecodeError: raise NotOurs("a text that is not UTF-8")
    if at != len(leaf) or outcome > 5 or any(map(is_control, texts)): raise NotOurs("a malformed field")
    return dict(zip(ROW, (seq, ts, epoch, event_id.hex(), prev.hex(), *texts, outcome, commit.hex() or None, plan.hex() or None, payload)))

def root_of(tree):
    """Of the hashes of perfect subtrees, largest first."""
    if not tree: return hashlib.sha256(b"").digest()
    return functools.reduce(lambda right, left: hashlib.sha256(b"\1" + left + right).digest(), tree[-2::-1], tree[-1])
class Chain:
    """Rows in order: each from its own bytes, linked to the one before, grown into the tree of RFC 6962."""
    def __init__(self, first, before, marks=(), pruned=()):
        self.first = self.next = first
        self.head, self.tree, self.roots, self.forks, self.marks, self.pruned = before, [], {}, [], set(marks), pruned
        self.mark()
    def mark(self):
        if self.next in self.marks: self.roots[self.next] = (root_of(self.tree) if self.first == 0 else None, self.head)
    def row(self, seq, leaf, stored, copies):
        """`leaf` None: not base64. `copies`: what stands beside the bytes, by the names of `ROW`."""
        if seq > self.next: raise Fault(15, f"rows {self.next} to {seq - 1} are missing")
        if seq < self.next: raise Fault(11, f"row {seq}: comes a second time, where row {self.next} belongs")
        digest = stored
        if leaf != b"" or len(stored) != 32 or not any(first <= seq <= last for first, last in self.pruned):
            if leaf is None: raise Fault(10, f"row {seq}: its leaf is not base64")
            digest = hashlib.sha256(b"\0" + leaf).digest()
            if digest != stored: raise Fault(10, f"row {seq}: stored hash {short(stored)}, its bytes give {short(digest)}")
            try: row = parse_leaf(leaf)
            except NotOurs as why: raise Fault(10, f"row {seq}: its bytes are not a row: {why}")
            if row["prev"] != self.head.hex(): raise Fault(11, f"row {seq}: prev is {row['prev'][:16]}…, row {seq - 1} is {short(self.head)}")
            wrong = [name for name in copies if copies[name] != row[name]]
            if wrong: raise Fault(10, f"row {seq}: column {wrong[0]} differs from its bytes")
            if row["kind"] == "log.forked": self.fork(seq, row["payload"])
        self.head, self.next, size = digest, self.next + 1, self.next
        while self.first == 0 and size & 1: digest, size = hashlib.sha256(b"\1" + self.tree.pop() + digest).digest(), size >> 1
        if self.first == 0: self.tree.append(digest)
        self.mark()
    def fork(self, seq, payload):
        def get(value, name, kind): return value[name] if isinstance(value, dict) and type(value.get(name)) is kind else None
        try: said = json.loads(payload)
        except (ValueError, RecursionError): said = None
        origin = get(said, "old_origin", str) or ""
        heads = [get(said, "audit_head", dict)] + [get(anchor, "has", dict) for anchor in get(said, "anchors", list) or []]
        named = [(get(n, "size", int), get(n, "root", str)) for n in heads if n and get(n, "origin", str) == origin]
        named = [(size, root) for size, root in named if size is not None and size >= 0 and root is not None]
        self.forks.append((seq, origin, named))

def plain(path):
    # A pipe or a device would keep its reader waiting for ever.
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode): return file
    file.close()
    raise OSError(errno.EINVAL, "not a regular file", path)
def chunks(path, gzip):
    """A file's bytes, decompressed where it is compressed; damage there is found before the end, and so is what follows it."""
    try:
        with plain(path) as file:
            data, unzip = file.read(1 << 17), None
            if gzip and data.startswith(b"\x1f\x8b\x08\0"): unzip = zlib.decompressobj(31)
            while data:
                if unzip and unzip.eof: raise Unreadable(f"cannot read {path}: something follows the compressed data")
                yield unzip.decompress(data) if unzip else data
                if unzip and unzip.unused_data: raise Unreadable(f"cannot read {path}: something follows the compressed data")
                data = file.read(1 << 17)
            if unzip and not unzip.eof: raise Unreadable(f"cannot read {path}: it is cut off")
    except (OSError, ValueError, zlib.error) as why: raise Unreadable(f"cannot read {path}: {why}")
def lines(path, gzip=True):
    rest, long = b"", Unreadable(f"cannot read {path}: a line of more than 1 MiB")
    for chunk in chunks(path, gzip):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if len(line) > LINE_MAX: raise long
            yield line
        if len(rest) > LINE_MAX: raise long
    if rest: raise CutOff(f"cannot read {path}: it is cut off in the middle of a line")
def obj(line, shape):
    """A JSON object of exactly this shape; numbers are whole, names come once."""
    def no(_): raise ValueError("a number that is not whole")
    def fits(value, kind):
        if kind in (str, None): return isinstance(value, str) and value.encode() is not None or value is kind is None
        if kind is list: return isinstance(value, list) and all(fits(one, str) for one in value)
        return type(value) is int and (0 <= value < 1 << kind if kind > 0 else -(1 << -kind - 1) <= value < 1 << -kind - 1)
    def once(pairs): return dict(pairs) if len(dict(pairs)) == len(pairs) else no(pairs)
    try:
        data = json.loads(line.decode(), object_pairs_hook=once, parse_float=no, parse_constant=no, parse_int=lambda n: no(n) if n == "-0" else int(n))
        if not isinstance(data, dict) or not set(data) <= set(shape): raise NotOurs("another form")
        if all(fits(data.get(name), kind) for name, kind in shape.items()): return data
    except (ValueError, RecursionError): pass
    raise NotOurs("another form")

class Export:
    def __init__(self, path):
        self.path, self.note, tail = path, None, b""
        for chunk in chunks(path, True): tail = (tail + chunk)[-LINE_MAX - 2:]
        last = tail[:-1].rpartition(b"\n")[2] if tail.endswith(b"\n") else b""
        try: self.note = obj(last, dict(checkpoint=None)).get("checkpoint") if last.startswith(b'{"checkpoint"') and len(last) <= LINE_MAX else None
        except NotOurs: pass
        self.lines = lines(path)
        try:
            head = obj(next(self.lines, b""), dict(v=8, origin=str, keys=list, first=64, last=64, prev=str))
            self.keys, self.first, self.last = list(map(parse_key, head["keys"])), head["first"], head["last"]
            if head["v"] != 1 or not self.first <= self.last < 2**64 - 1 or not re.fullmatch("[0-9a-f]{64}", head["prev"]): raise NotOurs("a value no header has")
            self.before = bytes.fromhex(head["prev"])
        except NotOurs as why: raise Unreadable(f"cannot read {path}, line 1: {why}")
    def follow(self, chain):
        if self.first > chain.next: raise Fault(15, f"rows {chain.next} to {self.first - 1} are missing")
        if self.first < chain.next: raise Fault(11, f"row {self.first}: comes a second time, where row {chain.next} belongs")
        if self.before != chain.head: raise Fault(11, f"row {self.first}: prev is {short(self.before)}, row {self.first - 1} is {short(chain.head)}")
        try:
            for line in self.lines:
                if line.startswith(b'{"checkpoint"'):
                    obj(line, dict(checkpoint=None))
                    if next(self.lines, None) is not None: raise NotOurs("something follows its last line")
                    return
                row = obj(line, ROW)
                if row["seq"] > self.last: raise NotOurs("a row behind the last one that the header names")
                seq, leaf, stored = row["seq"], row.pop("leaf"), row.pop("hash")
                try: leaf = b64(leaf)
                except NotOurs: leaf = None
                chain.row(seq, leaf, bytes.fromhex(stored) if re.fullmatch("[0-9a-f]{64}", stored) else b"", {**dict(commit=None, plan=None), **row})
        except NotOurs as why: raise Unreadable(f"cannot read {self.path}: {why}")
        raise Unreadable(f"cannot read {self.path}: it ends before its last line")

def conclude(chain, evidence, end, to):
    if chain.next < end:
        for c in evidence.seen + evidence.stored:
            if c.size > chain.next and (to is None or c.size <= to + 1) and not evidence.given_up(c, chain): raise shorter(chain, c)
        raise Fault(15, f"rows {chain.next} to {end - 1} are missing")
def verify_exports(args, exports, evidence):
    for export in exports:
        if export.note is not None: evidence.note(f"last line of {export.path}", export.note, None)
    chain, end = Chain(exports[0].first, exports[0].before, [c.size for c in evidence.stored + evidence.seen]), 0
    for export in exports:
        export.follow(chain)
        end = export.last + 1
        if chain.next < end: break
    conclude(chain, evidence, max(end, (args.to if args.to is not None else -1) + 1), args.to)
    evidence.judge(chain, None if args.to is None else args.to + 1)
    return chain

@contextlib.contextmanager
def connect(path):
    """Neither the database nor its journal (-wal) is changed. Where no other process has it open, SQLite takes from the journal what
    its checksums hold for, by an index (-shm) it writes anew; so the connection is closed, and never lends its index to a later one."""
    if os.path.islink(path) or not os.path.isfile(path) or os.stat(path).st_nlink > 1: raise Unreadable(f"cannot read {path}: not a plain file")
    with contextlib.closing(sqlite3.connect(pathlib.Path(path).resolve().as_uri() + "?mode=ro", uri=True)) as db:
        db.execute("PRAGMA cell_size_check=ON"), db.execute("PRAGMA trusted_schema=OFF")
        if db.execute("PRAGMA application_id").fetchone()[0] != 0x50434953 or not 0 < db.execute("PRAGMA user_version").fetchone()[0] <= 4:
            raise Unreadable(f"cannot read {path}: not a database of pci-segment that this program knows")
        yield db
def stored_keys(db):
    found = db.execute("SELECT value FROM meta WHERE name = 'audit_keys'").fetchone()
    text = whole(found[0], str) if found else ""
    try: named = obj(b'{"keys":%s}' % text.encode(), dict(keys=list))["keys"] if text.startswith("[") else [one for one in text.split("\n") if one]
    except (NotOurs, KeyError) as why: raise Unreadable(f"cannot read the keys of the log: {why}")
    return list(map(parse_key, named))
def whole(value, kind):
    if type(value) is not kind or (kind is int and value < 0): raise Unreadable("cannot read the database: a value of another type")
    return value
def verify_database(args, db, evidence):
    beside, records = os.path.dirname(os.path.abspath(args.database)), db.execute("PRAGMA user_version").fetchone()[0] >= 4
    try:
        with plain(os.path.join(beside, "audit.head")) as file: evidence.note("audit.head", file.read(NOTE_MAX + 1).decode(errors="replace"), "audit.head")
    except FileNotFoundError: pass
    except OSError as why: raise Unreadable(f"cannot read audit.head: {why}")
    segments = []
    if records:
        for origin, size, root, note in db.execute("SELECT origin, size, root, note FROM audit_checkpoint ORDER BY origin, size"):
            evidence.note(f"checkpoint {size}", whole(note, str), None, None, (whole(origin, str), whole(size, int), whole(root, bytes)))
        for row in db.execute("SELECT id, first, last, head_in, head_out, root, file, file_sha256, state FROM audit_segment ORDER BY id"):
            segments.append([whole(value, kind) for value, kind in zip(row, (int, int, int, bytes, bytes, bytes, str, bytes, str))])
            if any(len(row[n]) != 32 for n in (3, 4, 5, 7)) or row[8] not in ("sealed", "pruned"): raise Unreadable("a segment on record is none")
    size, hashes, rows = db.execute("SELECT size, hashes, (SELECT coalesce(max(seq) + 1, 0) FROM audit_log) FROM audit_frontier WHERE id = 0").fetchone()
    if len(whole(hashes, bytes)) != 32 * bin(whole(size, int)).count("1"): raise Unreadable("a frontier of another size")
    first, end = args.from_ or 0, size if args.to is None else args.to + 1
    if first >= end and size > 0: raise Unreadable(f"no row lies between {first} and {end - 1}")
    before = db.execute("SELECT hash FROM audit_log WHERE seq = ?", (first - 1,)).fetchone() if first else (b"\0" * 32,)
    if not before or type(before[0]) is not bytes or len(before[0]) != 32: raise Unreadable(f"there is no row {first - 1} to start from")
    segments = [s for s in segments if args.to is None or s[2] < end]
    marks = [c.size for c in evidence.stored + evidence.seen] + [n for s in segments for n in (s[1], s[2] + 1)]
    chain = Chain(first, before[0], marks, [(s[1], s[2]) for s in segments if s[8] == "pruned"])
    asked = db.execute("SELECT seq, CAST(ts AS TEXT), CAST(event_id AS BLOB), CAST(kind AS BLOB), CAST(leaf AS BLOB), CAST(hash AS BLOB) "
                       "FROM audit_log WHERE seq >= ? AND seq < ? ORDER BY seq", (first, min(end, max(size, rows))))
    for seq, ts, event_id, kind, leaf, stored in asked:
        if None in (event_id, kind, leaf, stored) or not re.fullmatch("-?[0-9]{1,19}", ts or ""): raise Unreadable("a row could not be unpacked")
        chain.row(seq, leaf, stored, dict(seq=seq, event_id=event_id.hex(), ts_ns=int(ts), kind=kind.decode(errors="replace")))
    conclude(chain, evidence, end, args.to)
    if (first, end) == (0, size):
        if root_of(chain.tree) != root_of([hashes[n:n + 32] for n in range(0, len(hashes), 32)]): raise Fault(10, f"row {size - 1}: the stored frontier of {size} rows has another root")
        if rows > size: raise Fault(10, f"row {size}: the stored frontier ends before it")
    evidence.judge(chain, None if args.to is None else end)
    check_segments(segments, chain, args.segments or os.path.join(beside, "segments"), evidence)
    return chain
def check_segments(segments, chain, folder, evidence):
    next_row = 0
    for number, first, last, *_ in segments:
        if first != next_row or last < first: raise Fault(15, f"segment {number}: begins at row {first}, where row {next_row} belongs")
        next_row = last + 1
    for number, first, last, head_in, head_out, root, _, _, _ in segments:
        after = chain.roots.get(last + 1, (None, None))
        for seen, noted in ((chain.roots.get(first, (0, None))[1] if first else b"\0" * 32, head_in), (after[1], head_out), (after[0], root)):
            if seen is not None and seen != noted: raise Fault(15, f"segment {number}: its manifest does not match the rows")
        if last >= chain.next and chain.first == 0: raise Fault(15, f"segment {number}: ends behind the last row")
    for number, first, last, head_in, head_out, _, name, digest, state in segments:
        path, differs = os.path.join(folder, name), Fault(15, f"segment {number}: file does not match its manifest")
        if "/" in name or name.startswith(".") or not name: raise differs
        if not os.path.lexists(path):
            if state == "pruned": raise Fault(15, f"segment {number}: its file {name} is missing, and rows {first} to {last} are nowhere else")
            evidence.remarks.append(f"segment {number}: its file {name} is missing")
            continue
        found = hashlib.sha256()
        for chunk in chunks(path, False): found.update(chunk)
        if found.digest() != digest: raise differs
        if state == "pruned":
            try:
                export, rows = Export(path), Chain(first, head_in)
                if (export.first, export.last) == (first, last): export.follow(rows)
                if (rows.next, rows.head) != (last + 1, head_out): raise differs
            except (Unreadable, Fault): raise differs

def number(text):
    if not re.fullmatch("[0-9]{1,20}", text) or int(text) >= 2**64: raise ValueError(text)
    return int(text)
def verify(argv):
    """Exit code and one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    for name in ("--database", "--segments"): parser.add_argument(name)
    for name in ("--export", "--key", "--anchor"): parser.add_argument(name, action="append", default=[])
    parser.add_argument("--from", dest="from_", type=number), parser.add_argument("--to", type=number), parser.add_argument("--strict", action="store_true")
    args = parser.parse_args(argv)
    if bool(args.database) == bool(args.export) or args.export and (args.from_ is not None or args.segments): parser.error("name a --database, or exports without --from")
    try:
        with contextlib.ExitStack() as opened:
            keys = list(map(parse_key, args.key))
            source = [Export(path) for path in args.export] or opened.enter_context(connect(args.database))
            if not keys: keys = [key for export in source for key in export.keys] if args.export else stored_keys(source)
            evidence = Evidence(keys)
            for name in args.anchor: evidence.anchor(name)
            chain = (verify_exports if args.export else verify_database)(args, source, evidence)
    except Fault as fault: return fault.code, str(fault)
    except (NotOurs, Unreadable, sqlite3.Error, OSError) as why: return 2, str(why)
    text = f"{chain.next - chain.first} rows, head {short(chain.head)}, {len(evidence.stored + evidence.seen)} signatures"
    text = "; ".join([text, *(f"forked at row {seq} from {origin}" for seq, origin, *_ in chain.forks), *evidence.remarks])
    return (1, f"verified, but not vouched for to its end: {text}") if args.strict and evidence.weak(chain) else (0, f"verified {text}")

if __name__ == "__main__":
    code, line = verify(sys.argv[1:])
    print(line)
    sys.exit(code)
