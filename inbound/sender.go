package inbound

import (
	"errors"

	"ekc/citizen"
	"ekc/smpp"
)

// Types of number (SMPP 3.4 §5.2.5) a phone can have; the others are short codes, names and numbers of the network's own.
const (
	tonUnknown       = 0
	tonInternational = 1
	tonNational      = 2
)

// phoneOf is the phone an SMS came from; zero for a short code, a name, or a number of another country.
func phoneOf(from smpp.Address) citizen.Phone {
	switch from.TON {
	case tonInternational:
		p, err := citizen.ParsePhone("+" + from.Addr)
		if errors.Is(err, citizen.ErrPhoneFormat) { // its own plus, or a form of this country that is marked as international
			p, err = citizen.ParsePhone(from.Addr)
		}
		if err == nil {
			return p
		}
	case tonUnknown, tonNational:
		if p, err := citizen.ParsePhone(from.Addr); err == nil {
			return p
		}
	}
	return citizen.Phone{}
}
