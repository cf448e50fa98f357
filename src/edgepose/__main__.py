# SPDX-License-Identifier: Apache-2.0
"""`python -m edgepose`: the same as the command `edgepose`."""

from __future__ import annotations

from edgepose.cli import main

if __name__ == "__main__":
    main(prog_name="edgepose")
