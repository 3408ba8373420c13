#!/usr/bin/env python3
"""A member of a consumer group, from docs/protocol.md alone.

    member.py [--server tcp://127.0.0.1:8189] --group robin --name m1

It prints one JSON line for each record, and acknowledges a batch when its lines are written. It
survives restarts of lcapd: it connects again, and joins with the same session. --count N ends it
after N records, --idle S after S seconds without any. Needs python3-zmq and python3-msgpack.
"""
import argparse
import json
import os
import struct
import sys
import time
import uuid

import msgpack
import zmq

CREDIT_BATCHES, CREDIT_BYTES = 16, 1 << 20


class Lost(Exception):
    """The connection is gone, or the server says good-bye: connect again."""


def records(payload):
    """Split packed records (docs/lustre-changelog-abi.md, 1): yields type, index, and the record."""
    at = 0
    while at < len(payload):
        namelen, flags, kind, index = struct.unpack_from("<HHIQ", payload, at)
        size = 64 + 32 * bool(flags & 0x2000) + 32 * bool(flags & 0x4000)  # a rename's source, the job id
        if flags & 0x8000:
            (extra,) = struct.unpack_from("<Q", payload, at + size)
            size += 8 + sum(n for bit, n in ((1, 16), (2, 24), (4, 4), (8, 256)) if extra & bit)
        yield kind, index, payload[at:at + size + namelen]
        at += size + namelen


class Member:
    def __init__(self, options):
        self.o = options
        self.session = str(uuid.uuid4())  # one life of this program
        self.done = 0
        self.last = time.monotonic()

    def say(self, kind, body=None, **fields):
        frames = [msgpack.packb({"t": kind, **fields})]
        if body is not None:
            frames.append(msgpack.packb(body))
        self.socket.send_multipart(frames)
        self.said = time.monotonic()

    def hear(self, timeout):
        """The next message, or None if nothing came in time (seconds)."""
        if not self.socket.poll(timeout * 1000):
            return None, None
        frames = self.socket.recv_multipart()
        self.heard = time.monotonic()
        return msgpack.unpackb(frames[0]), frames[1] if len(frames) > 1 else b""

    def connect(self):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(self.o.server)
        self.said = self.heard = time.monotonic()
        self.beat = 5.0
        self.say("hello", v=1, min=1, software="member.py", caps=[])
        self.say("join", {"mdts": self.o.mdts}, req=1, group=self.o.group, name=self.o.name, session=self.session,
                 distribution=self.o.distribution, start=self.o.start, create=self.o.create)

    def serve(self):
        """Run one connection."""
        while not self.finished():
            now = time.monotonic()
            if now - self.heard > 3 * self.beat:
                raise Lost("nothing heard")
            if now - self.said > self.beat:
                self.say("heartbeat")
            message, payload = self.hear(min(self.beat / 2, 0.2))
            if message is not None:
                self.take(message, payload)
        self.say("leave")
        while self.hear(1)[0] not in (None, {"t": "bye"}):
            pass

    def take(self, m, payload):
        kind = m["t"]
        if kind == "hello":
            self.beat = m.get("heartbeat_ms", 5000) / 1000 or 5.0
        elif kind == "joined":
            self.say("credit", batches=CREDIT_BATCHES, bytes=CREDIT_BYTES)
        elif kind == "batch":
            self.batch(m, payload)
        elif kind == "bye":
            raise Lost(m.get("text", ""))
        elif kind == "error" and m["code"] == "lease-lost":
            pass  # the records come again, to somebody
        elif kind == "error" and m["code"] in ("bad-message", "stopping", "full", "internal"):
            raise Lost(m["text"])  # bad-message: ZeroMQ has connected again, and we did not say hello
        elif kind == "error":
            sys.exit(f"member.py: {m['code']}: {m.get('text', '')}")

    def batch(self, m, payload):
        for kind, index, _ in records(payload):
            print(json.dumps({"mdt": m["mdt"], "epoch": m.get("epoch", 0), "index": index, "type": kind,
                              "delivery": m["delivery"]}))
            self.done += 1
        sys.stdout.flush()  # written before it is acknowledged
        self.say("ack", lease=m["lease"], upto=m["last"])
        self.say("credit", batches=1, bytes=len(payload))
        self.last = time.monotonic()

    def finished(self):
        idle = self.o.idle and time.monotonic() - self.last > self.o.idle
        return idle or self.o.count and self.done >= self.o.count

    def run(self):
        wait = 0.1
        while not self.finished():
            self.connect()
            before = self.done
            try:
                self.serve()
            except Lost as why:
                print(f"member.py: {why}; connecting again", file=sys.stderr)
            self.socket.close()
            wait = 0.1 if self.done > before else min(wait * 2, 5)
            time.sleep(wait)


def main():
    p = argparse.ArgumentParser(description="Print the records that a group is given.")
    for name, default in (("server", "tcp://127.0.0.1:8189"), ("group", "robin"), ("name", f"member-{os.getpid()}"),
                          ("distribution", ""), ("start", "")):
        p.add_argument("--" + name, default=default)
    p.add_argument("--mdts", type=lambda s: s.split(","), default=[])
    p.add_argument("--create", action="store_true")
    p.add_argument("--count", type=int)
    p.add_argument("--idle", type=float)
    Member(p.parse_args()).run()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
