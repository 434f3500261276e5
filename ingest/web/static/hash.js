// A worker that computes the SHA-256 of a file (FIPS 180-4). Small files go to the browser's own implementation, which wants the whole
// file in memory and a secure context; others are read piece by piece.
"use strict";

const K = new Uint32Array(64), START = new Uint32Array(8);
// The constants are the first 32 bits of the fractional parts of roots of the first primes (FIPS 180-4, 4.2.2 and 5.3.3).
for (let n = 2, found = 0; found < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
  if (!prime) continue;
  const fraction = (x) => Math.floor((x - Math.floor(x)) * 4294967296);
  if (found < 8) START[found] = fraction(Math.sqrt(n));
  K[found++] = fraction(Math.cbrt(n));
}

class SHA256 {
  constructor() {
    this.state = START.slice();
    this.block = new Uint8Array(64);
    this.used = 0;
    this.length = 0;
    this.w = new Int32Array(64);
  }

  update(bytes) {
    this.length += bytes.length;
    let at = 0;
    if (this.used > 0) {
      at = Math.min(64 - this.used, bytes.length);
      this.block.set(bytes.subarray(0, at), this.used);
      this.used += at;
      if (this.used < 64) return;
      this.compress(this.block, 0);
    }
    for (; at + 64 <= bytes.length; at += 64) this.compress(bytes, at);
    this.used = bytes.length - at;
    this.block.set(bytes.subarray(at));
  }

  hex() {
    const bits = this.length * 8, view = new DataView(new ArrayBuffer(72));
    const pad = ((119 - this.used) % 64) + 1;
    const tail = new Uint8Array(view.buffer, 0, pad + 8);
    tail[0] = 0x80;
    view.setUint32(pad, Math.floor(bits / 4294967296));
    view.setUint32(pad + 4, bits >>> 0);
    this.update(tail);
    return Array.from(this.state, (v) => v.toString(16).padStart(8, "0")).join("");
  }

  compress(bytes, at) {
    const w = this.w, s = this.state;
    for (let i = 0; i < 16; i++, at += 4) w[i] = bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) + ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10);
    }
    let a = s[0] | 0, b = s[1] | 0, c = s[2] | 0, d = s[3] | 0, e = s[4] | 0, f = s[5] | 0, g = s[6] | 0, h = s[7] | 0;
    for (let i = 0; i < 64; i++) {
      const t = h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + (e & f ^ ~e & g) + K[i] + w[i] | 0;
      const u = ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b ^ a & c ^ b & c) | 0;
      h = g; g = f; f = e; e = d + t | 0; d = c; c = b; b = a; a = t + u | 0;
    }
    s[0] += a; s[1] += b; s[2] += c; s[3] += d; s[4] += e; s[5] += f; s[6] += g; s[7] += h;
  }
}

const SMALL = 32 << 20, PIECE = 4 << 20;

async function hashOf(file) {
  if (file.size <= SMALL && self.crypto && crypto.subtle) {
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
  }
  const h = new SHA256();
  for (let at = 0; at < file.size; at += PIECE) {
    h.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
    postMessage({progress: Math.min(1, (at + PIECE) / file.size)});
  }
  return h.hex();
}

self.onmessage = async ({data: file}) => {
  try {
    postMessage({hash: await hashOf(file)});
  } catch (e) {
    postMessage({error: e.message});
  }
};
