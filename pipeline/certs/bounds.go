package certs

// Every bound of the package, in one place. docs/isolation.md says the same numbers.

import "time"

const (
	// Interval is the least time between the beginnings of two looks at one site over the network. A look that failed
	// answers those who know nothing of the site, and come within Interval of its end.
	Interval = 2 * time.Second
	// MaxWait is how long [Sites.Look] and [Sites.Await] wait at most, whatever their context says. verify decides
	// every upload within this time.
	MaxWait = 30 * time.Second
	// UsualGrace is how long a leaf counts after it was seen last, where Config.Grace is 0.
	UsualGrace = 24 * time.Hour
	// MaxLeaves is how many leaves of a site count: those that were seen last.
	MaxLeaves = 8

	// lookTimeout bounds one look at a site over the network, from its beginning, with all addresses and tries.
	lookTimeout = 10 * time.Second
	// settleTime is how long a look that has a chain waits for the probes that have not ended. It waits longer where
	// the first chain took longer than half of settleTime: twice as long as that took.
	settleTime = time.Second
	// turnTime is how much longer such a look waits where visits of it wait for their turn.
	turnTime = 3 * time.Second
	// maxAddresses is how many addresses of a name a look asks.
	maxAddresses = 4

	// maxRunning is how many looks over the network run at once.
	maxRunning = 256
	// maxRunningOfAccount is how many of them are for one registrable domain, and how many for one client.
	maxRunningOfAccount = 8
	// maxAsked is how many sites have a look that waits or runs, or had one within Interval.
	maxAsked = 65_536
	// maxQueued is how many turns may be waited for, and maxQueuedOfAccount how many for one domain or one client.
	maxQueued          = 65_536
	maxQueuedOfAccount = 16_384
	// maxClientsOfLook is how many clients' turns one look waits for: it begins at the first one.
	maxClientsOfLook = 8

	// maxVisits is how many visits to one address (an IPv4 address or an IPv6 /64) are under way at once for names of
	// which leaves are known, and how many for other names. A visit has at most two connections open, and makes at most
	// visitConnections: one for each kind of key, and then one more each, or two more where both are refused. The
	// address gets a new connection each dialInterval, after up to dialBurst at once, and as many again for names of
	// the other sort.
	maxVisits        = 4
	visitConnections = 4
	dialInterval     = time.Second / 8
	dialBurst        = 16
	// maxVisit is how long a visit may take at least, while another one waits for its place.
	maxVisit = 3 * time.Second
	// maxGaveUp is how many visits more may lie in the turns of an address, given up, than wait there.
	maxGaveUp = 256

	// maxChain bounds a chain, in bytes of DER: MaxLeaves of them fit a record of the log, which has less than 900 KiB.
	maxChain = 64 << 10
	// maxMemory bounds the chains that are remembered, in bytes. A site counts as siteMemory bytes at least, so that
	// 4,096 sites are remembered at most.
	maxMemory  = 128 << 20
	siteMemory = 32 << 10
	// maxKeys bounds the prepared keys, in bytes with the tables that they may build: 512 keys on P-256, 227 on P-384,
	// 8,192 others.
	maxKeys = 128 << 20
	// maxFile bounds a file of --cert-dir, in bytes.
	maxFile = 1 << 20
	// maxFiles is how many parsed files are remembered.
	maxFiles = 1024
	// maxReads is how many files are read at once: a folder that hangs holds no more goroutines than that.
	maxReads = 16
)
