package clerk

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// bare is the least that verifying a token can cost: one hash and one RSA-2048
// verification.
func bare(b *testing.B) func() {
	token := signed(b, testKeys()[0], goodHeader(), goodClaims())
	at := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil {
		b.Fatal(err)
	}
	text, key := []byte(token[:at]), &testKeys()[0].PublicKey
	return func() {
		digest := sha256.Sum256(text)
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) != nil {
			b.Fatal("not verified")
		}
	}
}

// measure reports how long f takes, in ns and beside a bare verification. The
// two take turns, and the median counts: other work on the machine slows both.
func measure(b *testing.B, f func()) {
	const turns, rounds = 41, 50
	base := bare(b)
	ratios := make([]float64, turns)
	for i := range ratios {
		theirs := lasts(rounds, base)
		ratios[i] = float64(lasts(rounds, f)) / float64(theirs)
	}
	slices.Sort(ratios)
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
	b.ReportMetric(ratios[turns/2], "x-bare")
}

func lasts(rounds int, f func()) time.Duration {
	began := time.Now()
	for range rounds {
		f()
	}
	return time.Since(began)
}

func BenchmarkVerifyBare(b *testing.B) { measure(b, bare(b)) }

// BenchmarkVerifyUncached drops the token from the cache before each call.
func BenchmarkVerifyUncached(b *testing.B) {
	v, token := newVerifier(b, nil), signed(b, testKeys()[0], goodHeader(), goodClaims())
	hash := sha256.Sum256([]byte(token))
	measure(b, func() {
		delete(v.seen.young, hash)
		if _, err := v.Verify(b.Context(), token, true); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkVerifyCached(b *testing.B) {
	v, token := newVerifier(b, nil), signed(b, testKeys()[0], goodHeader(), goodClaims())
	measure(b, func() {
		if _, err := v.Verify(b.Context(), token, true); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkVerifyForged is what an attacker can make us spend.
func BenchmarkVerifyForged(b *testing.B) {
	v, token := newVerifier(b, nil), signed(b, testKeys()[1], goodHeader(), goodClaims())
	measure(b, func() {
		if _, err := v.Verify(b.Context(), token, true); !errors.Is(err, ErrToken) {
			b.Fatal(err)
		}
	})
}
