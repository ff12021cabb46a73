#!/bin/bash
#SBATCH --job-name=nas
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
# A search on all nodes of an allocation. What follows the script's name is given to `nas search`:
#   sbatch docs/cluster/slurm.sh --space stacking --store postgresql+psycopg://db/nas --checkpoints /shared/nas-checkpoints
# The same command goes on where the last one stopped, also after --time has passed. With GPUs add --gpus-per-node above and
# --device cuda. RAY_HEAD_FLAGS and RAY_NODE_FLAGS are added to `ray start`, for example --num-gpus=4.
set -euo pipefail

nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
head=${nodes[0]}  # this script runs there too
port=$((20000 + SLURM_JOB_ID % 10000))
address=$(srun --nodes=1 --ntasks=1 --overlap -w "$head" hostname --ip-address | awk '{print $1}'):$port

# Whoever has the token can run code on the cluster; it lies in a folder that all nodes share and only you can read.
secrets=${NAS_SECRETS:-$HOME/.nas-ray}
mkdir -p -m 700 "$secrets"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$secrets/$SLURM_JOB_ID
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH")
export RAY_USAGE_STATS_ENABLED=0

cleanup() { trap - EXIT; kill $(jobs -p) 2> /dev/null || true; wait || true; rm -f "$RAY_AUTH_TOKEN_PATH"; }
trap cleanup EXIT
trap 'exit 143' TERM

srun --nodes=1 --ntasks=1 --overlap -w "$head" \
    ray start --head --port="$port" --include-dashboard=false --block ${RAY_HEAD_FLAGS:-} &
for node in "${nodes[@]:1}"; do
    srun --nodes=1 --ntasks=1 --overlap -w "$node" ray start --address="$address" --block ${RAY_NODE_FLAGS:-} &
done

# A search takes the nodes that are there when it begins: all of them, please, and at most five minutes for it.
python - "$address" "${#nodes[@]}" << 'EOF'
import sys, time
import ray
address, wanted = sys.argv[1], int(sys.argv[2])
end = time.monotonic() + 300
while True:
    try:
        ray.init(address, logging_level="ERROR", log_to_driver=False)
        found = sum(node["Alive"] for node in ray.nodes())
        ray.shutdown()
    except ConnectionError:
        found = 0
    if found >= wanted:
        break
    if time.monotonic() > end:
        sys.exit(f"only {found} of {wanted} nodes have joined {address}")
    time.sleep(1)
EOF

nas search --ray-address "$address" "$@"
