package engine

// Which network the child gets: one of its own where the kernel lets us, found out by trying.

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// probeTimeout bounds a try. What is tried takes some 20 ms.
const probeTimeout = 10 * time.Second

// privatePort is the engine's port in a network namespace of its own, where every port is free.
const privatePort = 9000

// errNoNamespaces says that no kind of separate network could be made, and why.
var errNoNamespaces = errors.New("no network namespace can be made")

// findNetwork returns the best network that a child can be given. With an error it is sharedNetwork.
func findNetwork(ctx context.Context) (network, error) {
	reasons := []error{errNoNamespaces}
	for _, n := range separateNetworks() {
		err := tryNetwork(ctx, n)
		if err == nil {
			return n, nil
		}
		reasons = append(reasons, err)
	}
	return sharedNetwork, errors.Join(reasons...)
}

// tryNetwork starts a child that does no more than to set up its network.
func tryNetwork(ctx context.Context, n network) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	order := order{Network: n, Try: true}
	cmd := exec.CommandContext(ctx, ownProgram())
	if err := order.command(cmd); err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return err
}

// sharedRemedy says what an operator can do about a shared network.
const sharedRemedy = "allow network namespaces (sysctl user.max_net_namespaces, user.max_user_namespaces, " +
	"kernel.apparmor_restrict_unprivileged_userns; in a container CAP_SYS_ADMIN, or a seccomp profile that allows user namespaces), " +
	"or use --clickhouse URL"

// oneLine writes an error for a log line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
