#!/usr/bin/env bash
# Walks docs/operator.md against a hub of its own (ekc demo --empty), printing each command with what it answers. Needs bin/ekc (make build),
# curl and jq; the mending needs LibreOffice with its Python (Debian: libreoffice-calc python3-uno), and the walk ends before it without.
# WALK=folder keeps the files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

walk=${WALK:-$(mktemp -d)}
mkdir -p "$walk"
demo=
finish() {
	[[ -z $demo ]] || { kill "$demo" && wait "$demo" || true; }
	[[ -n ${WALK:-} ]] || rm -rf "$walk"
}
trap finish EXIT

PGBIN=$(scripts/postgres.sh) bin/ekc demo --empty --addr 127.0.0.1:0 >"$walk/demo.txt" &
demo=$!
until grep -qs 'Демо работает' "$walk/demo.txt"; do sleep 0.2; kill -0 "$demo"; done
EKC_URL=$(sed -n 's/.*Шлюз отвечает: //p' "$walk/demo.txt")
base=$(sed -n 's/^  база *//p' "$walk/demo.txt")
export EKC_URL

say() { printf '\n## %s\n' "$*"; }
# run shows a command as it is typed, and runs it.
run() { printf '\n$ %s\n' "$1"; eval "$1"; }
# ready waits until a list has its verdicts, completed until nothing more is to happen to it.
ready() { until api "$EKC_URL/v1/lists/$1" | jq -e '.state != "checking" and .state != "receiving"' >/dev/null; do sleep 0.2; done; }
completed() { until api "$EKC_URL/v1/lists/$1" | jq -e '.state == "completed"' >/dev/null; do sleep 0.2; done; }
api() { curl -sS -H "Authorization: Bearer $EKC_KEY" -H 'Accept-Language: ru' "$@"; }
json() { api -H 'Content-Type: application/json' "$@"; }
petrov() { EKC_KEY=$APPROVER "$@"; }

say 'Ключи'
EKC_KEY=$(EKC_DATABASE_URL=$base bin/ekc keys create ivanova --role list_loader --agency B202.000001 --title 'Иванова А. П.')
APPROVER=$(EKC_DATABASE_URL=$base bin/ekc keys create petrov --role list_approver --agency B202.000001 --title 'Петров Б. В.')
export EKC_KEY APPROVER
run 'api $EKC_URL/v1/whoami'

say 'Проверка без загрузки'
run 'api -F file=@fixtures/lists/faults.csv $EKC_URL/v1/lists/check | jq -c "[.protocol.record_num, .protocol.record_num_success, .estimate.sentence]"'

say 'Загрузка'
run 'bin/ekc lists submit fixtures/lists/faults.csv --legal-basis-code 152-FZ-10 || true'
run 'bin/ekc lists submit fixtures/lists/faults.csv --name "Файл с ошибками" --ordered-by "письмо 12-04 от 01.11.2026" \
    --legal-basis-code 152-FZ-10 --legal-basis-document "152-ФЗ, ст. 10" --legal-basis-date 2006-07-27 | tee $walk/list'
L=$(cut -d' ' -f1 "$walk/list")
ready "$L"
run 'api $EKC_URL/v1/lists/$L | jq -c "{state, rows, accepted, rejected, warnings, segments, digest}"'
run 'bin/ekc lists submit fixtures/lists/faults.csv || true'

say 'Протокол'
run 'api $EKC_URL/v1/lists/$L/protocol | jq -r ".error_records[] | [.row, (.messages[] | .rule_code, .report)] | @tsv" | sed -n "1,4p;16,17p;32p"'
run 'api $EKC_URL/v1/lists/$L/protocol.xlsx -o $walk/protocol.xlsx && ls $walk'
run 'api "$EKC_URL/v1/lists/$L/preview?row=69"'

say 'Утверждение'
approval() { api "$EKC_URL/v1/lists/$1" | jq '{expected: {accepted, digest}}'; }
run 'approval $L | json $EKC_URL/v1/lists/$L/approve -d @-'
run 'approval $L | petrov json $EKC_URL/v1/lists/$L/approve -d @- | jq -c "{state, approved_by}"'
completed "$L"
run 'api $EKC_URL/v1/lists/$L | jq -c "{state, counts}"'

say 'Правка'
if ! command -v soffice >/dev/null || ! /usr/bin/python3 -c 'import uno' 2>/dev/null; then
	echo 'LibreOffice здесь нет, дальше идти не с чем. Те же шаги проходит тест cmd/ekc.TestANewOperatorMendsTheBrokenSample.'
	exit 0
fi
# sheets writes every sheet of a workbook as CSV, for the eye.
sheets() { soffice --headless --convert-to 'csv:Text - txt - csv (StarCalc):59,34,76,1,,0,false,true,false,false,false,-1' --outdir "$walk" "$@" >/dev/null 2>&1; }
run 'sheets $walk/protocol.xlsx; cut -d";" -f1,2,18- $walk/protocol-Список.csv | sed -n 1,8p'
run 'sed -n "3,27s/;*$//p" "$walk/protocol-Протокол загрузки.csv"'
run 'scripts/mend.py $walk/protocol.xlsx fixtures/mends.csv $walk/mended.xlsx 2>/dev/null'

say 'Исправление'
run 'bin/ekc lists submit $walk/mended.xlsx --replaces $L || true'
run 'bin/ekc lists submit $walk/mended.xlsx --corrects $L | tee $walk/list'
C=$(cut -d' ' -f1 "$walk/list")
ready "$C"
run 'api $EKC_URL/v1/lists/$C | jq -c "{name, state, corrects, rows, accepted, rejected, skipped}"'
run 'api $EKC_URL/v1/lists/$C/protocol | jq -r ".error_records[] | [.row, (.messages[] | .rule_code, .report)] | @tsv" | sed -n "1,3p;/126/p"'
run 'approval $C | petrov json $EKC_URL/v1/lists/$C/approve -d @- | jq -c "{state, approved_by}"'
completed "$C"

say 'Результаты'
run 'api $EKC_URL/v1/lists/$C | jq -c "{state, counts}"'
run 'api $EKC_URL/v1/lists/$C/results.csv | sed -n 1,4p'
run 'api $EKC_URL/v1/lists/$C/results.xlsx -o $walk/results.xlsx; sheets $walk/results.xlsx; cut -d";" -f1,2,18- $walk/results-Результаты.csv | sed -n 1,8p'
run 'api $EKC_URL/v1/lists/$C/not-informed.xlsx -o $walk/not-informed.xlsx; sheets $walk/not-informed.xlsx; cut -d";" -f1,2,18- "$walk/not-informed-Не уведомлены.csv"'
run 'cat "$walk/not-informed-По причинам.csv"'
run 'api $EKC_URL/v1/lists/$L/not-informed.xlsx -o $walk/first.xlsx; sheets $walk/first.xlsx; tail -1 "$walk/first-По причинам.csv"'
