# SPDX-License-Identifier: Apache-2.0
"""Making and training compact models: rendered people, training loops, the two model families.

Needs the extra `edgepose[train]`. Running models does not belong here.
"""
