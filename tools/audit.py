"""Known vulnerabilities of what requirements.lock pins, by pip-audit. Run by `make lint`.

Exit code 1 for a vulnerability. Where the package index has no such data (a mirror), or can't be reached, a line says
that nothing was checked, and the exit code is 0.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Ask, and print what was found."""
    form = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "10"]
    command = [sys.executable, "-m", "pip_audit", *form, "--requirement", "requirements.lock"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"vulnerabilities: not checked ({reason})")
        return 0
    audited = [package for package in packages if "vulns" in package]
    found = [(package, vulnerability) for package in audited for vulnerability in package["vulns"]]
    for package, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {vulnerability['id']}, mended in {fixed}")
    if not audited:
        print("vulnerabilities: not checked (the package index has no data of them)")
    else:
        print(f"vulnerabilities: {len(found)} known in {len(audited)} of {len(packages)} packages that were looked up")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
