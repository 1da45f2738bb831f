"""A Ray cluster of several nodes on this machine, for tests and benchmarks: each node is processes of its own.

``python tests/support/ray_nodes.py CPUS...`` starts a head without cores and a node of each number of cores, prints the
address, and then does what it reads: ``kill`` ends the last node as a machine that fails would; the end of the input
ends all.
"""

import os
import sys

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}

from ray.cluster_utils import Cluster


def main() -> None:
    """Keep the nodes until the input ends."""
    settings = {"include_dashboard": False}
    gpus = int(os.environ.get("NODE_GPUS", "0"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **settings})
    nodes = [cluster.add_node(num_cpus=int(cpus), num_gpus=gpus, **settings) for cpus in sys.argv[1:]]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)  # noqa: T201
    try:
        for line in sys.stdin:
            if line.strip() == "kill":
                cluster.remove_node(nodes.pop(), allow_graceful=False)
                print("killed", flush=True)  # noqa: T201
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
