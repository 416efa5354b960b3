#!/bin/sh
# Wait until every container that has a health check is healthy. Run as: sh local/await_containers.sh docker compose …
set -eu
deadline=$(($(date +%s) + 300))
shown='{{.Name}} {{if .State.Health}}{{.State.Health.Status}}{{end}}'
while waiting=$("$@" ps -q | xargs docker inspect -f "$shown" | grep -E ' (starting|unhealthy)$'); do
    if [ "$(date +%s)" -gt "$deadline" ]; then
        echo "Not healthy after 5 minutes: $waiting. See: $* logs" >&2
        exit 1
    fi
    sleep 1
done
echo "board http://127.0.0.1:${LEARNBACK_BOARD_PORT:-8730}   collector http://127.0.0.1:${LEARNBACK_COLLECTOR_PORT:-8710}   predictor http://127.0.0.1:${LEARNBACK_PREDICTOR_PORT:-8720}"
