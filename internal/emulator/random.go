package emulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Streams of one seed. Each part draws from its own, so that, say, a fault more
// or less does not change the ids that follow.
const (
	idStream uint64 = iota + 1
	faultStream
	outboxStream
)

// source is a seeded random source that is safe for concurrent use. Everything
// here is synthetic, so secrets may come from it as well.
type source struct {
	mu   sync.Mutex
	rand *rand.Rand
}

func newSource(seed, stream uint64) *source {
	return &source{rand: rand.New(rand.NewPCG(seed, stream))}
}

// hit reports true for the given share of calls.
func (s *source) hit(share float64) bool {
	if share <= 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.Float64() < share
}

func (s *source) bytes(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw := make([]byte, 0, n+8)
	for len(raw) < n {
		raw = binary.BigEndian.AppendUint64(raw, s.rand.Uint64())
	}
	return raw[:n]
}

// intN is a number from 0 to n-1.
func (s *source) intN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

func (s *source) shuffle(n int, swap func(i, j int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rand.Shuffle(n, swap)
}

// hex returns n random bytes in hexadecimal.
func (s *source) hex(n int) string { return hex.EncodeToString(s.bytes(n)) }

// base64 returns n random bytes in base64.
func (s *source) base64(n int) string { return base64.StdEncoding.EncodeToString(s.bytes(n)) }

// uuid returns a random UUID (RFC 9562, version 4).
func (s *source) uuid() string {
	raw := s.bytes(16)
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	text := hex.EncodeToString(raw)
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// The form of a KSUID (github.com/segmentio/ksuid): 27 base-62 digits that hold
// the second and 128 random bits. Clerk's and Svix's ids look like it; that they
// are KSUIDs is inferred.
const (
	ksuidEpoch  = 1_400_000_000
	ksuidDigits = 27
)

// id returns an id that looks like Clerk's and Svix's: prefix and 27 base-62
// digits, of which the first five or so are those of the time.
func (s *source) id(prefix string, at time.Time) string {
	raw := s.bytes(20)
	binary.BigEndian.PutUint32(raw, uint32(at.Unix()-ksuidEpoch))
	digits := strings.Map(swapCase, new(big.Int).SetBytes(raw).Text(62))
	return prefix + strings.Repeat("0", ksuidDigits-len(digits)) + digits
}

// swapCase turns math/big's order of digits (lower case first) into KSUID's.
func swapCase(r rune) rune {
	if unicode.IsUpper(r) {
		return unicode.ToLower(r)
	}
	return unicode.ToUpper(r)
}

// clock gives timestamps in milliseconds, every one later than all before, so
// that no two versions of a record look alike.
type clock struct {
	now  func() time.Time
	mu   sync.Mutex
	last int64
}

func (c *clock) tick() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.now().UnixMilli(), c.last+1)
	return c.last
}
