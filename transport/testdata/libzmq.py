"""Peers from libzmq, for interop_test.go: libzmq.py KIND ADDRESS.

dealer  echoes of many sizes, then silence with heartbeats, then one more echo
req     strict request and reply, as older C clients do it
sub     subscribes, wants numbered messages, heartbeats on
large   echoes of 4 MiB
Exits 0 when everything was as expected.
"""
import sys
import time
import zmq

kind, address = sys.argv[1:]
context = zmq.Context()


def connect(socket_type, heartbeat):
    s = context.socket(socket_type)
    s.setsockopt(zmq.LINGER, 0)
    s.setsockopt(zmq.RCVTIMEO, 20000)
    s.setsockopt(zmq.SNDTIMEO, 20000)
    if heartbeat:
        s.setsockopt(zmq.HEARTBEAT_IVL, 50)
        s.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1500)
    s.connect(address)
    return s


def watch(s):
    return s.get_monitor_socket(zmq.EVENT_DISCONNECTED)


if kind == "dealer":
    s = connect(zmq.DEALER, True)
    monitor = watch(s)
    for size in [0, 1, 255, 256, 1000, 70000]:
        parts = [b"header", b"x" * size]
        s.send_multipart(parts)
        assert s.recv_multipart() == parts, size
    time.sleep(3.5)  # heartbeats only: without PONG it leaves after 1.5 s
    s.send(b"still there")
    assert s.recv() == b"still there"
    assert not monitor.poll(0), "disconnected meanwhile"
elif kind == "large":
    s = connect(zmq.DEALER, False)
    for n in range(3):
        s.send(bytes([n]) * (4 << 20))
        assert s.recv() == bytes([n]) * (4 << 20)
elif kind == "req":
    s = connect(zmq.REQ, True)
    for n in range(50):
        s.send_multipart([b"lustre-MDT0000", b"body %d" % n])
        assert s.recv_multipart() == [b"lustre-MDT0000", b"body %d" % n]
elif kind == "sub":
    s = connect(zmq.SUB, True)
    s.setsockopt(zmq.SUBSCRIBE, b"mdt0")
    for n in range(1000):
        assert s.recv_multipart() == [b"mdt0", b"%d" % n]
    s.setsockopt(zmq.UNSUBSCRIBE, b"mdt0")
    s.setsockopt(zmq.SUBSCRIBE, b"end")
    assert s.recv_multipart() == [b"end", b""]
print("done")
