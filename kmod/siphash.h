/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * SipHash (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
 * Without the key, a sender cannot predict or choose which flows share a hash
 * bucket.
 */

#ifndef _L4S_SIPHASH_H_
#define	_L4S_SIPHASH_H_

#include "osdep.h"

struct l4s_siphash_key {
	uint64_t	k0;
	uint64_t	k1;
};

struct l4s_siphash {
	uint64_t	v0, v1, v2, v3;
};

static inline uint64_t
l4s_siphash_rotate(uint64_t x, unsigned bits)
{
	return (x << bits | x >> (64 - bits));
}

static inline void
l4s_siphash_rounds(struct l4s_siphash *s, unsigned rounds)
{
	while (rounds-- != 0) {
		s->v0 += s->v1;
		s->v2 += s->v3;
		s->v1 = l4s_siphash_rotate(s->v1, 13) ^ s->v0;
		s->v3 = l4s_siphash_rotate(s->v3, 16) ^ s->v2;
		s->v0 = l4s_siphash_rotate(s->v0, 32);
		s->v2 += s->v1;
		s->v0 += s->v3;
		s->v1 = l4s_siphash_rotate(s->v1, 17) ^ s->v2;
		s->v3 = l4s_siphash_rotate(s->v3, 21) ^ s->v0;
		s->v2 = l4s_siphash_rotate(s->v2, 32);
	}
}

/*
 * SipHash-c-d.  The last of the n > 0 words has the message's length mod 256
 * in its highest byte; words are little-endian.
 */
static inline uint64_t
l4s_siphash(const struct l4s_siphash_key *key, const uint64_t *words,
    unsigned n, unsigned c, unsigned d)
{
	struct l4s_siphash s = {
		.v0 = key->k0 ^ 0x736f6d6570736575ULL,
		.v1 = key->k1 ^ 0x646f72616e646f6dULL,
		.v2 = key->k0 ^ 0x6c7967656e657261ULL,
		.v3 = key->k1 ^ 0x7465646279746573ULL,
	};
	unsigned i;

	for (i = 0; i < n; i++) {
		s.v3 ^= words[i];
		l4s_siphash_rounds(&s, c);
		s.v0 ^= words[i];
	}
	s.v2 ^= 0xff;
	l4s_siphash_rounds(&s, d);
	return (s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
}

/*
 * SipHash-1-3: sufficient if the hash itself is never exposed, as in the hash
 * tables of Rust and Python.
 */
static inline uint64_t
l4s_siphash13(const struct l4s_siphash_key *key, const uint64_t *words,
    unsigned n)
{
	return (l4s_siphash(key, words, n, 1, 3));
}

#endif /* !_L4S_SIPHASH_H_ */
