package citizen_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/postgres/postgrestest"
)

func TestIsStop(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"СТОП", "стоп", "Стоп", "STOP", "stop", "Stop", "STOPP", "ОТПИСАТЬСЯ", "отписка", "Отказ", "нет рассылке", "НЕ ПРИСЫЛАЙТЕ", "Отключить",
		"unsubscribe", "хватит", " СТОП ", "СТОП\r\n", "«СТОП»", `"стоп"`, "СТОП!", "стоп...", "С.Т.О.П.", "стоп 🛑", "🛑СТОП🛑", "СТОП\u200b",
		"CTOП", "СTOП", "cтoп", "SТОР", "SТOP", "СТ0П", "ST0P", "нет\u00a0 рассылке", "Не присылаи\u0306те", "ＳＴＯＰ", "НЕT PАССЫЛКЕ", "\ufeffСТОП", "стоп?",
	} {
		if !citizen.IsStop(text) {
			t.Errorf("%q does not stop", text)
		}
		if citizen.IsStart(text) {
			t.Errorf("%q starts", text)
		}
	}
	for _, text := range []string{
		"", " ", "нет", "НЕТ", "стоп рассылке", "не стоп", "остановка СТОП", "стоп1", "СТОП ПЕНСИЯ", "СТОПЫ", "стопп", "0", "да", "1", "C", "отказываюсь",
		"стоп\u0000x", "\xff\xfe", "с т о п",
	} {
		if citizen.IsStop(text) {
			t.Errorf("%q stops", text)
		}
	}
	for _, text := range []string{"СТАРТ", "start", "Старт!", "CTAPT", "да рассылке", "ВКЛЮЧИТЬ"} {
		if !citizen.IsStart(text) || citizen.IsStop(text) {
			t.Errorf("%q does not start", text)
		}
	}
}

func FuzzIsStop(f *testing.F) {
	for _, s := range []string{"СТОП", "«stop»!", "CTОП", "нет рассылке", "ST0P 🛑", "и\u0306", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		stop := citizen.IsStop(s)
		if stop && citizen.IsStart(s) {
			t.Fatal("stops and starts")
		}
		if stop != citizen.IsStop(" «"+s+" »\n") {
			t.Fatal("quotes and blanks around change the answer")
		}
	})
}

func TestOptOutHoldsUntilLifted(t *testing.T) {
	t.Parallel()
	db, ctx := postgrestest.New(t), t.Context()
	old := must(citizen.NewKeyset())
	before := citizen.NewKeyring(old, 8)
	after := citizen.NewKeyring(must(old.Rotate()), 8)
	phone, other := must(citizen.ParsePhone("89036550550")), must(citizen.ParsePhone("89161234567"))
	oldDigests := must(before.PhoneDigests(phone))
	if added, err := citizen.AddOptOut(ctx, db, oldDigests, citizen.AllAgencies, citizen.OptOutBySMS, "inbound/7"); err != nil || !added {
		t.Fatal(added, err)
	}
	digests := must(after.PhoneDigests(phone))
	if added, err := citizen.AddOptOut(ctx, db, digests, citizen.AllAgencies, citizen.OptOutBySMS, "inbound/8"); err != nil || added {
		t.Fatal("the same refusal twice, or not found under the new index key:", added, err)
	}
	if added, err := citizen.AddOptOut(ctx, db, digests, "A068.000001", citizen.OptOutByCall, ""); err != nil || !added {
		t.Fatal(added, err)
	}
	held := must(citizen.OptOutsOf(ctx, db, append(must(after.PhoneDigests(other)), digests...)))
	if len(held) != 2 {
		t.Fatalf("%d refusals", len(held))
	}
	for _, o := range held {
		if o.Scope == citizen.AllAgencies && (o.Digest != oldDigests[0] || o.Cause != "inbound/7" || o.Source != citizen.OptOutBySMS || !o.Covers("any")) {
			t.Errorf("all: %+v", o)
		}
		if o.Scope != citizen.AllAgencies && (o.Covers("any") || !o.Covers("A068.000001")) {
			t.Errorf("agency: %+v", o)
		}
	}
	for within, want := range map[time.Duration]int{time.Minute: 2, 0: 0} {
		var b pgx.Batch
		n := 0
		citizen.QueueRecentOptOuts(&b, within, func(d citizen.Digest, _ string) {
			if n++; !slices.Contains(digests, d) {
				t.Error("a refusal of another phone")
			}
		})
		if err := db.SendBatch(ctx, &b).Close(); err != nil || n != want {
			t.Errorf("%d made within %s, want %d: %v", n, within, want, err)
		}
	}
	if others := must(citizen.OptOutsOf(ctx, db, must(after.PhoneDigests(other)))); len(others) != 0 {
		t.Fatalf("%d refusals of another phone", len(others))
	}
	if n := must(citizen.LiftOptOuts(ctx, db, digests, "A068.000001")); n != 1 {
		t.Fatalf("%d lifted", n)
	}
	if n := must(citizen.LiftOptOuts(ctx, db, digests, citizen.AllAgencies)); n != 1 {
		t.Fatalf("%d lifted", n)
	}
	if held := must(citizen.OptOutsOf(ctx, db, digests)); len(held) != 0 {
		t.Fatalf("%d held after lifting", len(held))
	}
	if added, err := citizen.AddOptOut(ctx, db, digests, citizen.AllAgencies, citizen.OptOutBySMS, "inbound/9"); err != nil || !added {
		t.Fatal("a refusal after a lifted one:", added, err)
	}
	if _, err := citizen.AddOptOut(ctx, db, nil, citizen.AllAgencies, citizen.OptOutBySMS, ""); err == nil {
		t.Fatal("a refusal of nobody")
	}
}
