/**
 * The binary frames of the stream protocol, to the byte (docs/protocol.md). All little-endian:
 *
 *     offset  0  4 bytes  magic "PCHY"
 *             4  u8       version = 1
 *             5  u8       type
 *             6  u16      code: encoding on ingest, output index on results
 *             8  u64      number: sequence on ingest, first row on results
 *            16  i64      t_us
 *            24  u32      count: rows, or bytes where said
 *            28  u32      CRC-32 over header bytes 0-27 and the payload
 *
 * Times and numbers are below 2^53 by the protocol, so that they are plain numbers here.
 */

export const HEADER_BYTES = 32;
export const TYPE = {
  events: 1, heartbeat: 2, label: 3, end: 4, gap: 5, edges: 6,
  detections: 16, thinnedEvents: 17, field: 18, evidence: 19, watermark: 20, triggers: 21, motion: 22, movers: 23,
} as const;
export const ENCODING = { aer64: 0, evt2: 1, evt3: 2 } as const;

const MAGIC = 0x59484350; // "PCHY", little-endian
const VERSION = 1;
const LARGEST_STEP_US = 2 ** 32 - 1;

export interface Frame {
  type: number;
  code: number;
  number: number;
  tUs: number;
  count: number;
  payload: Uint8Array;
}

/** Events in arrival order: times in us, pixel columns and rows, true or above 0 = ON; all equally long. */
export interface Events {
  t: ArrayLike<number>;
  x: ArrayLike<number>;
  y: ArrayLike<number>;
  p: ArrayLike<number | boolean>;
}

/** Bytes that are no frame. */
export class BadFrame extends Error {}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** zlib's CRC-32 of bytes, going on from the sum of those before them. */
export function crc32(data: Uint8Array, before = 0): number {
  let c = ~before;
  for (let i = 0; i < data.length; i++) c = TABLE[(c ^ data[i]!) & 0xff]! ^ (c >>> 8);
  return ~c >>> 0;
}

/** The bytes of a frame. */
export function build(
  type: number, code: number, number: number, tUs: number, count: number, payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const data = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(data.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, VERSION);
  view.setUint8(5, type);
  view.setUint16(6, code, true);
  view.setBigUint64(8, BigInt(number), true);
  view.setBigInt64(16, BigInt(tUs), true);
  view.setUint32(24, count, true);
  data.set(payload, HEADER_BYTES);
  view.setUint32(28, crc32(payload, crc32(data.subarray(0, 28))), true);
  return data;
}

/**
 * The frame in one binary message.
 *
 * @throws BadFrame where magic, version or checksum are wrong.
 */
export function parse(data: Uint8Array): Frame {
  if (data.length < HEADER_BYTES) throw new BadFrame("shorter than a frame's header");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (view.getUint32(0, true) !== MAGIC) throw new BadFrame("wrong magic: a frame starts with PCHY");
  if (view.getUint8(4) !== VERSION) throw new BadFrame(`version ${view.getUint8(4)}: allowed is ${VERSION}`);
  const payload = data.subarray(HEADER_BYTES);
  if (crc32(payload, crc32(data.subarray(0, 28))) !== view.getUint32(28, true)) throw new BadFrame("wrong checksum");
  return {
    type: view.getUint8(5), code: view.getUint16(6, true), number: Number(view.getBigUint64(8, true)),
    tUs: Number(view.getBigInt64(16, true)), count: view.getUint32(24, true), payload,
  };
}

/**
 * Events as aer64 rows, in as few pieces as their times allow: within one they do not fall and span less than 2^32 us.
 *
 * @throws RangeError where a column does not fit.
 */
export function* packEvents(
  events: Events, most = 32_768,
): Generator<{ tUs: number; count: number; payload: Uint8Array }> {
  const { t, x, y, p } = events;
  const n = t.length;
  if (x.length !== n || y.length !== n || p.length !== n) throw new RangeError("t, x, y, p must be equally long");
  for (let start = 0; start < n; ) {
    const first = t[start]!;
    let stop = start + 1;
    while (stop < n && stop - start < most && t[stop]! >= t[stop - 1]! && t[stop]! - first <= LARGEST_STEP_US) stop++;
    const payload = new Uint8Array(8 * (stop - start));
    const view = new DataView(payload.buffer);
    for (let i = start; i < stop; i++) {
      check("t", t[i]!, Number.MAX_SAFE_INTEGER);
      check("x", x[i]!, 65_535);
      check("y", y[i]!, 32_767);
      view.setUint32(8 * (i - start), t[i]! - first, true);
      view.setUint16(8 * (i - start) + 4, x[i]!, true);
      view.setUint16(8 * (i - start) + 6, y[i]! | (Number(p[i]!) > 0 ? 0x8000 : 0), true);
    }
    yield { tUs: first, count: stop - start, payload };
    start = stop;
  }
}

function check(name: string, value: number, largest: number): void {
  if (!Number.isInteger(value) || value < 0 || value > largest) {
    throw new RangeError(`${name} must be integers in 0 .. ${largest}`);
  }
}
