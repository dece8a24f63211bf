#!/usr/bin/env bash
# Install Chromium and its driver, which the tests of the HTML page need, where this can be done without a question.
# Where it cannot, say so loudly: those tests are then skipped, and the page was not looked at.
set -uo pipefail

has_browser() {
    command -v chromedriver >/dev/null &&
        { command -v chromium || command -v google-chrome || command -v chrome; } >/dev/null
}

has_browser && exit 0
if command -v apt-get >/dev/null; then
    root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo -n)
    echo 'Installing Chromium for the tests of the HTML page.'
    timeout 300 "${root[@]}" sh -c 'apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        --no-install-recommends install chromium chromium-driver' >/dev/null
fi
has_browser && exit 0
cat >&2 <<'TEXT'
********************************************************************************
* NO BROWSER. The tests of the HTML page are skipped: nobody looks at the page. *
* Install Chromium and chromedriver, and run this again.                        *
********************************************************************************
TEXT
exit 0
