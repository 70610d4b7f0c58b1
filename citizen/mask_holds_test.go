package citizen

import "testing"

func TestHoldsPersonalFindsAPhoneOrSNILSInsideOtherText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"дело-+79657431209": true, "+79657431209/1": true, "СНИЛС 112-233-445 95": true, "8 (965) 743-12-09": true, "9657431209": true,
		"": false, "приказ 123 от 01.02.2026": false, "тел. 8-800-100-00-01": false, "2026-001234": false, "112-233-445 96": false,
		"4951234567": false, "0123456789": false,
		"89031234-5674-4000-8000-79031234567a": false, "a0000000-0000-4000-8000-079031234567": false, "A0000000-0000-4000-8000-079031234567 79031234567": true,
		"дело/89031234-5674-4000-8000-79031234567a": false,
	} {
		if got := HoldsPersonal(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
