#!/usr/bin/env python3
"""Reads a Redis stream written by bridges of Data::PubSub::Shared, without Perl and without a ring.

    bridge-consumer.py --stream news [--server HOST:PORT | --server /path/of/socket]
        [--from now | start | ID] [--stop]

Prints a line of JSON for each message, exactly once, in the order that all hosts see,

    {"origin": "host/ring-5eed1234", "number": 7, "text": "grüezi"}

with "integer" or, in hexadecimal, "bytes" in place of "text"; and one for each gap, with the number of
messages that are lost, and the reason:

    {"origin": "host/ring-5eed1234", "gap": 120, "reason": "overrun"}

Reasons are those in the documentation of Data::PubSub::Shared::Bridge, "LOSSES", and "missing" for
messages lost in Redis. With --stop it ends at the end of the stream; otherwise it waits for
more until Ctrl-C. If a password is needed, set the environment variable PUBSUB_BRIDGE_PASSWORD.

Needs the Python module redis (Debian package python3-redis). docs/stream-format.md describes
the stream. A program that must keep its position when it ends stores Reader.last and
Reader.origins together with the results of the messages, in one transaction, between two entries.
"""

import argparse
import json
import os
import re
import struct
import sys
import time

import redis


class Strange(Exception):
    """An entry that no bridge has written."""


def parts(payload):
    """The parts of a pack, each preceded by its length: 32 bits, big-endian."""
    at = 0
    while at < len(payload):
        if at + 4 > len(payload):
            raise Strange('a pack that ends too early')
        (length,) = struct.unpack_from('>I', payload, at)
        at += 4 + length
        if at > len(payload):
            raise Strange('a pack that ends too early')
        yield payload[at - length:at]


def text(payload):
    """Decodes a text in UTF-8. Invalid UTF-8 stays bytes."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload


def name_of(origin):
    return origin.decode(errors='backslashreplace')


# How to parse the messages of an entry, by its kind.
KINDS = {
    b'i': lambda payload: [int(payload)],
    b'I': lambda payload: [int(digits) for digits in payload.split(b' ')],
    b'm': lambda payload: [payload],
    b'M': lambda payload: list(parts(payload)),
    b'u': lambda payload: [text(payload)],
    b'U': lambda payload: [text(part) for part in parts(payload)],
}


def parse(fields):
    """Of an entry: origin, epoch, first number, how many numbers it takes, messages; and of a gap, (lost, reason)."""
    if not fields or b'o' not in fields or b's' not in fields:
        raise Strange('it is not of a bridge')
    producer = re.fullmatch(rb'(.+)#([0-9]{1,15})', fields[b'o'], re.DOTALL)
    if not producer or not re.fullmatch(rb'[1-9][0-9]{0,15}', fields[b's']):
        raise Strange('no origin, or no number')
    # Names of more than one letter may be added later.
    kind = min((name for name in fields if len(name) == 1 and name not in b'os'), default=None)
    origin, epoch, first = name_of(producer[1]), int(producer[2]), int(fields[b's'])
    if kind == b'g':
        gap = re.fullmatch(rb'([a-z]{1,20}) ([0-9]{1,18})', fields[kind])
        if not gap:
            raise Strange('a gap that says nothing')
        # It takes as many numbers as messages were lost, or one number if the count is unknown (0).
        return origin, epoch, first, max(1, int(gap[2])), [], (int(gap[2]), gap[1].decode())
    if kind not in KINDS:
        raise Strange('of unknown kind')
    try:
        messages = KINDS[kind](fields[kind])
    except ValueError as error:
        raise Strange(str(error)) from error
    if not messages:
        raise Strange('without a message')
    return origin, epoch, first, len(messages), messages, None


class Reader:
    """The state of a stream after the entry `last`: for each origin its epoch and the next number.

    The first number of an unknown origin is 1. But if reading began in the middle (`blind`), the number of
    earlier messages is unknown, and they do not count as missing.
    """

    def __init__(self, last, origins, blind):
        self.last, self.origins, self.blind = last, origins, blind
        self.duplicates = self.malformed = 0

    def take(self, identifier, fields):
        """Yields the new items of the next entry: (origin, number, message) and (origin, None, (lost, reason))."""
        try:
            origin, epoch, first, takes, messages, gap = parse(fields)
        except Strange as error:
            self.malformed += 1
            print(f'entry {identifier.decode()} is left out: {error}', file=sys.stderr)
            return
        double = 0
        known = self.origins.get(origin, None if self.blind else (0, 1))
        if known:
            known_epoch, following = known
            # An epoch begins at the end of the previous one as known to the server. Duplicates only occur within an epoch.
            if epoch < known_epoch:
                double = takes
            elif epoch == known_epoch:
                double = min(takes, max(0, following - first))
            self.duplicates += double
            if double == takes:
                return
            if first > following:
                yield origin, None, (first - following, 'missing')
        self.origins[origin] = (epoch, first + takes)
        if gap:
            lost, reason = gap
            yield origin, None, (max(0, lost - double), reason)
        for index in range(double, len(messages)):
            yield origin, first + index, messages[index]

    def missing(self, ends):
        """At the end of the stream: yields losses by trimming that no later entry has shown yet."""
        for origin, (epoch, last) in ends.items():
            known = self.origins.get(origin, None if self.blind else (0, 1))
            if known and last >= known[1]:
                self.origins[origin] = (epoch, last + 1)
                yield origin, None, (last + 1 - known[1], 'missing')


def ends_of(server, stream):
    """The identifier of the last entry, and (epoch, last number) by origin: at one instant."""
    hash_name = f'{stream}:origins' if re.search(r'\{.+\}', stream) else f'{{{stream}}}:origins'
    with server.pipeline(transaction=True) as both:
        both.xrevrange(stream, count=1)
        both.hgetall(hash_name)
        newest, hashed = both.execute()
    numbers = {name_of(origin): tuple(map(int, value.split(b' ', 2)[:2])) for origin, value in hashed.items()}
    return newest[0][0] if newest else b'0-0', numbers


def order(identifier):
    """Identifiers in their order."""
    return tuple(map(int, identifier.split(b'-')))


def begin(server, stream, start):
    if start == 'start':
        return Reader(b'0-0', {}, blind=False)
    if start != 'now':
        return Reader(start.encode() if '-' in start else f'{start}-0'.encode(), {}, blind=True)
    last, numbers = ends_of(server, stream)
    return Reader(last, {origin: (epoch, number + 1) for origin, (epoch, number) in numbers.items()}, blind=False)


def follow(server, stream, start, stop):
    """Yields each new entry once. After a lost connection, reading continues where it was."""
    reader = None
    while True:
        try:
            reader = reader or begin(server, stream, start)
            found = server.xread({stream: reader.last}, count=500, block=None if stop else 1000)
            if not found:
                last, numbers = ends_of(server, stream)
                if order(last) <= order(reader.last):
                    yield from reader.missing(numbers)
                    if stop:
                        return
        except (redis.ConnectionError, redis.TimeoutError) as error:
            print(f'{error}; tries again', file=sys.stderr)
            time.sleep(1)
            continue
        for identifier, fields in found[0][1] if found else []:
            yield from reader.take(identifier, fields)
            reader.last = identifier


def line(origin, number, message):
    if number is None:
        lost, reason = message
        return {'origin': origin, 'gap': lost, 'reason': reason}
    if isinstance(message, bytes):
        return {'origin': origin, 'number': number, 'bytes': message.hex()}
    return {'origin': origin, 'number': number, 'integer' if isinstance(message, int) else 'text': message}


def main():
    parser = argparse.ArgumentParser(description='Prints the messages of a Redis stream written by bridges.')
    parser.add_argument('--stream', required=True)
    parser.add_argument('--server', default='127.0.0.1:6379', help='HOST:PORT, or the path of a socket')
    parser.add_argument('--from', dest='start', default='now', help='now, start, or an identifier of the stream')
    parser.add_argument('--stop', action='store_true', help='end at the end of the stream')
    given = parser.parse_args()
    if not re.fullmatch(r'now|start|[0-9]{1,18}(-[0-9]{1,18})?', given.start):
        parser.error(f'--from must be now, start or an identifier, not {given.start!r}')
    host, _, port = given.server.rpartition(':')
    where = {'unix_socket_path': given.server} if given.server.startswith('/') else {'host': host, 'port': int(port)}
    server = redis.Redis(**where, password=os.environ.get('PUBSUB_BRIDGE_PASSWORD'))
    for new in follow(server, given.stream, given.start, given.stop):
        print(json.dumps(line(*new), ensure_ascii=False), flush=True)


if __name__ == '__main__':
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(1)    # without a second error from pending output
