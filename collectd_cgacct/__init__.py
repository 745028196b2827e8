# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Network accounting of control groups for collectd."""

import sys

# Built in only where collectd embeds Python. PyPI has an unrelated module of that name.
if "collectd" in sys.builtin_module_names:
    from . import plugin

    plugin.register()
