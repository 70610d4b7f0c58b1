package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// Headers of a delivery.
const (
	HeaderID        = "Ekc-Webhook"   // id of the webhook
	HeaderTimestamp = "Ekc-Timestamp" // seconds since 1970, when it was signed
	HeaderSignature = "Ekc-Signature" // v1= and the HMAC-SHA256, hexadecimal, of timestamp, point, body
)

const (
	secretPrefix  = "whsec_"
	signatureWord = "v1="
)

// newSecret is 256 random bits.
func newSecret() string {
	var secret [32]byte
	rand.Read(secret[:]) // never fails
	return secretPrefix + hex.EncodeToString(secret[:])
}

// Sign is the signature of a body sent at an instant. The key of the HMAC is the secret as it was shown, prefix and all.
func Sign(secret string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(strconv.AppendInt(nil, at.Unix(), 10))
	mac.Write([]byte("."))
	mac.Write(body)
	return signatureWord + hex.EncodeToString(mac.Sum(nil))
}

// Verify is what a receiver does: the signature fits the body and the timestamp, and that is no more than so far from now.
func Verify(secret, timestamp, signature string, body []byte, now time.Time, within time.Duration) bool {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || !strings.HasPrefix(signature, signatureWord) {
		return false
	}
	at := time.Unix(seconds, 0)
	return now.Sub(at).Abs() <= within && hmac.Equal([]byte(signature), []byte(Sign(secret, at, body)))
}
