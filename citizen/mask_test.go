package citizen_test

import (
	"testing"

	"ekc/citizen"
)

func TestMaskNumbersHidesPhonesAndKeepsCodes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Invalid destination +79036550550":     "Invalid destination +***",
		"dest=8 (903) 655-05-50 is barred":     "dest=*** is barred",
		"СНИЛС 112-233-445 95 не найден":       "СНИЛС *** не найден",
		"to:6550550;err:045":                   "to:***;err:045",
		"error 0x0000000B after 15 s, code 12": "error 0x0000000B after 15 s, code 12",
		"0x00000000 0x79036550550":             "0x00000000 0x***",
		"486 Busy Here":                        "486 Busy Here",
		"10:45:07 retry 3":                     "10:45:07 retry 3",
		"89036550550":                          "***",
		"":                                     "",
		"нет цифр\xff":                         "нет цифр\xff",
	} {
		if got := citizen.MaskNumbers(in); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}
