#!/usr/bin/env bash
# An agent in plain curl: it screens a payment in five steps, each recorded, and leaves its verdict as an event with the end of
# the task. Killed in the middle, the task is finished by whoever claims it next. Needs bash, curl and jq.
set -euo pipefail

server=${TALLYSTICK_SERVER:-http://127.0.0.1:8000}
auth="authorization: Bearer ${TALLYSTICK_KEY:-none}"

get() { curl -sS --fail-with-body -H "$auth" "$server$1"; }
post() { curl -sS --fail-with-body -H "$auth" -H "content-type: application/json" -d "$2" "$server$1"; }
told() { jq -nc '$ARGS.named' "$@"; }

# step NAME COMMAND...: sets gave to what the command prints, which is JSON; or to what it printed when the step was made before.
step() {
    local name=$1 line output
    line=$(jq -c --arg name "$name" '.items[] | select(.name == $name and .state == "done")' <<< "$recorded")
    if [ -z "$line" ]; then
        echo "step $name begins" >&2
        output=$("${@:2}")
        line=$(post "/v1/tasks/$task/steps" "$(told --arg fence "$fence" --arg name "$name" --argjson output "$output")")
    fi
    gave=$(jq -c .output <<< "$line")
}

# The lease is renewed as long as this very process lives.
keep() {
    while sleep 3 && kill -0 $$ 2> /dev/null; do
        post /v1/tasks/heartbeat '{"lease_s": 10, "attempts": [{"id": "'"$task"'", "fence": "'"$fence"'"}]}' > /dev/null || true
    done
}

plain_name() { sleep 1; jq -c '.payload.payee | ascii_downcase' <<< "$1"; }
is_watched() { sleep 1; jq -nc --argjson name "$1" '$name == "acme trading"'; }
is_large() { sleep 1; jq -c '.payload.amount > 10000' <<< "$1"; }
opinion() { sleep 1; jq -nc --argjson watched "$1" 'if $watched then "review" else "clear" end'; }
verdict() { sleep 1; told --argjson decision "$1" --argjson large "$2"; }

while true; do
    claimed=$(post /v1/tasks/claim '{"agents": ["curl-agent"], "lease_s": 10, "wait_s": 30}' | jq -c '.items[]')
    [ -n "$claimed" ] || continue
    task=$(jq -r .id <<< "$claimed")
    fence=$(jq -r .fence <<< "$claimed")
    keep &
    keeper=$!
    recorded=$(get "/v1/tasks/$task/steps?limit=200")
    step name plain_name "$claimed"
    step watched is_watched "$gave"; watched=$gave
    step large is_large "$claimed"; large=$gave
    step opinion opinion "$watched"
    step verdict verdict "$gave" "$large"; result=$gave
    effects='[{"effect": "event", "type": "payment.screened", "payload": '$result'}]'
    post "/v1/tasks/$task/finish" "$(told --arg fence "$fence" --argjson result "$result" --argjson effects "$effects")" > /dev/null
    kill "$keeper" 2> /dev/null || true
    echo "task done"
done
