// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"
	"pgregory.net/rapid"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// FirstDay is when every life begins. A bubble begins in the year 2000.
var FirstDay = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	mountUUID = "2f9f1a7c-0000-4000-8000-000000000001"
	prefix    = "vault-2f9f1a7c-"

	hereAddress      = "127.0.0.1:9900"
	elsewhereAddress = "127.0.0.1:9901"

	// An operation that takes longer than this in virtual time hangs.
	patience = 10 * time.Minute
	// latency is how long Modal thinks about a call in lives whose operations overlap.
	latency = 70 * time.Millisecond
)

// Life is one mount from its first day on.
type Life struct {
	rt      *rapid.T
	spec    Spec
	start   Start
	report  *Report
	climate climate

	disk             *disk
	modal, elsewhere *modaltest.Server
	modals           modals
	stranger         *modaltest.Member // an owner elsewhere
	lines            map[string]*bufconn.Listener
	workspace        *modaltest.Workspace
	owner, colleague *modaltest.Member
	log              io.Writer

	leader, former, standby *node
	skews                   map[string]time.Duration
	least, most             time.Duration // of all skews so far
	late                    lateness
	saved                   map[string][]byte

	operations []*operation
	begun      int
	luck       *rand.Rand
	minting    atomic.Int64 // operators' creates and rotations under way
	ending     atomic.Int64 // what may end tokens under way
	readers    map[string]*reader
	oracle     *oracle

	// mu guards what engines reach from their own goroutines: operations, skews, luck and standby too.
	mu      sync.Mutex
	history []string
	wrong   string
}

// Live lives one life inside a bubble, and fails rt when a promise is broken.
func Live(rt *rapid.T, start Start, spec Spec, without Without, report *Report, log io.Writer) {
	time.Sleep(time.Until(FirstDay))
	l := &Life{
		rt: rt, spec: spec, start: start, report: report, log: log,
		disk: newDisk(), lines: map[string]*bufconn.Listener{}, skews: map[string]time.Duration{},
		readers: map[string]*reader{},
		luck:    rand.New(rand.NewPCG(uint64(roll(rt, "luck", 1<<rollBits)), 1)), //nolint:gosec // the luck of a simulation
	}
	report.began(l)
	l.climate = drawClimate(rt, without)
	l.note("climate: %s", l.climate)
	l.oracle = newOracle(l)
	l.disk.wrote = l.wrote
	l.modal, l.elsewhere = l.serve(hereAddress), l.serve(elsewhereAddress)
	l.modals = modals{l.modal, l.elsewhere}
	rt.Cleanup(l.end)
	l.workspace = l.modal.AddWorkspace("acme")
	l.workspace.AddEnvironment("staging")
	l.owner, l.colleague = l.workspace.AddMember("alice"), l.workspace.AddMember("bob")
	l.stranger = l.elsewhere.AddWorkspace("globex").AddMember("eve")
	l.modal.OnCall(l.think)
	l.lead("A")
	l.configure()
	rt.Repeat(map[string]func(*rapid.T){
		"step": func(*rapid.T) { l.step() },
		"":     func(*rapid.T) { l.check() },
	})
	l.settle()
}

// lateness is how long Modal goes on with some calls after it got them, whatever their callers do.
type lateness struct {
	method string
	by     time.Duration
	times  int
}

// think is what Modal does before it works on a call: operations meet only where they take time, and the
// work on a call that nobody waits for any more may still be done.
func (l *Life) think(method string) {
	l.mu.Lock()
	wait := time.Duration(0)
	if l.late.times > 0 && l.late.method == method {
		l.late.times--
		wait = l.late.by
	}
	l.mu.Unlock()
	if l.climate.Overlap {
		wait += latency
	}
	time.Sleep(wait)
}

func (l *Life) setLate(late lateness) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = late
}

// serve runs an emulated Modal that is reached in memory: a bubble's clock stands still while anybody
// waits for a real network.
func (l *Life) serve(address string) *modaltest.Server {
	line := bufconn.Listen(64 << 10)
	l.lines[address] = line
	server := modaltest.New(modaltest.WithClock(time.Now))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(&at{line, address})
	}()
	synctest.Wait() // until it knows its address
	l.rt.Cleanup(func() {
		server.Close()
		<-served
	})
	return server
}

// at is a listener that says where it is.
type at struct {
	net.Listener

	address string
}

func (a *at) Addr() net.Addr { return named(a.address) }

type named string

func (named) Network() string  { return "tcp" }
func (n named) String() string { return string(n) }

// node is one process of the mount.
type node struct {
	name   string
	engine Engine
	handle *handle
	wire   *wire
	ctx    context.Context //nolint:containedctx // the life of the process
	cancel context.CancelFunc
}

// wire is a process's network. It ends with the process.
type wire struct {
	lines map[string]*bufconn.Listener

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (w *wire) dial(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	cut := w.cut
	w.mu.Unlock()
	line := w.lines[address]
	if cut || line == nil {
		return nil, errors.New("no route to " + address)
	}
	conn, err := line.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn)
	return conn, nil
}

func (w *wire) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for _, conn := range w.conns {
		_ = conn.Close()
	}
}

// boot starts a process of a node.
func (l *Life) boot(name string, h *handle, standby bool) *node {
	n := &node{name: name, handle: h, wire: &wire{lines: l.lines}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	h.died = func() {
		l.note("  the process of %s dies", name)
		n.cancel()
		n.wire.sever()
	}
	engine, err := l.start(n.ctx, World{
		Storage: h, Standby: standby, Mount: mountUUID, Log: l.log, Dial: n.wire.dial,
		// A node's clock jumps and goes back, which a bubble's does not.
		Now: func() time.Time { return time.Now().Round(0).Add(l.skew(name)) },
		Sleep: func(ctx context.Context, d time.Duration) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		// No two jobs of a tick begin at one instant.
		Stagger: func(i int) { time.Sleep(time.Duration(i)) },
		Random: func() float64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.luck.Float64()
		},
	})
	if err != nil {
		l.fail("an engine does not start: %v", err)
	}
	n.engine = engine
	return n
}

func (n *node) stop() {
	n.cancel()
	n.engine.Stop()
}

// lead makes a node the leader, with a new process. The one before works on, but can write no more.
func (l *Life) lead(name string) {
	if l.former != nil {
		l.former.stop()
	}
	l.former = l.leader
	if old := l.reads(nil); old != nil {
		old.stop()
	}
	l.leader = l.boot(name, l.disk.promote(name, l.report.seen), false)
	if l.climate.Standby {
		l.reads(l.boot(other(name), l.disk.observe(other(name), l.report.seen), true))
	}
}

// reads sets the standby and returns the one before.
func (l *Life) reads(n *node) (before *node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, l.standby = l.standby, n
	return before
}

func (l *Life) skew(name string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.skews[name]
}

// setSkew sets a node's clock.
func (l *Life) setSkew(name string, skew time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skews[name] = skew
	l.least, l.most = min(l.least, skew), max(l.most, skew)
}

// doubt is how far the clocks of this life were ever apart.
func (l *Life) doubt() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.most - l.least
}

func other(name string) string {
	if name == "A" {
		return "B"
	}
	return "A"
}

// wrote is called for each write that took effect.
func (l *Life) wrote(key string, before, after []byte) {
	l.oracle.wrote(key, before, after)
	l.mu.Lock()
	standby := l.standby
	l.mu.Unlock()
	if standby != nil {
		standby.engine.Invalidate(standby.ctx, key)
	}
}

// operation is something that somebody began at a node.
type operation struct {
	what, role string
	node       *node
	// grace is what a rotation was told, nil where the role's counts.
	grace *time.Duration
	// target is the entry of the ledger that it is about.
	target string
	force  bool
	// stays: whoever asked waits for the answer.
	stays bool
	done  chan struct{}
	err   error
	// alone is what storage held when it began, nil where something else went on.
	alone *truth
}

// begin has a node do something, beside everything else that goes on.
func (l *Life) begin(op *operation, do func(ctx context.Context, e Engine) error) *operation {
	l.begun++
	number := l.begun
	op.done = make(chan struct{})
	if op.node == nil {
		op.node = l.leader
	}
	ctx, cancel := context.WithCancel(op.node.ctx)
	if op.what != "tick" && !op.stays && l.climate.CallersLeave && roll(l.rt, "caller leaves", 8) == 7 {
		after := []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second}[roll(l.rt, "after", 3)]
		ctx, cancel = context.WithTimeout(op.node.ctx, after+time.Duration(number))
	}
	for _, running := range l.running() {
		if running.what != "tick" || op.what != "tick" {
			l.report.seen("operations beside each other")
			break
		}
	}
	if len(l.running()) == 0 {
		op.alone = l.disk.truth()
	}
	l.mu.Lock()
	for _, beside := range l.operations {
		beside.alone = nil
	}
	l.operations = append(l.operations, op)
	l.mu.Unlock()
	go func() {
		defer close(op.done)
		defer cancel()
		time.Sleep(time.Duration(number)) // no two begin at one instant
		counter := &l.ending
		if strings.HasPrefix(op.what, "create") || strings.HasPrefix(op.what, "rotate") {
			counter = &l.minting
		}
		counter.Add(1)
		defer counter.Add(-1)
		op.err = do(ctx, op.node.engine)
		l.answered(op, number, ctx.Err() != nil && op.node.ctx.Err() == nil)
	}()
	return op
}

func (l *Life) answered(op *operation, number int, left bool) {
	outcome := "done"
	switch {
	case op.node.handle.isDead():
		outcome = "killed"
	case left:
		l.report.seen("caller left")
		outcome = "left"
	case isMistake(op.err):
		outcome = "mistake"
	case op.err != nil:
		outcome = "failed"
	}
	l.report.seen(op.what + ": " + outcome)
	if outcome == "failed" && l.climate.calm() {
		l.broken("%s %s failed although nothing is wrong: %v", op.what, op.role, op.err)
	}
	l.mu.Lock()
	before := op.alone
	l.mu.Unlock()
	if outcome == "mistake" && before != nil && !before.sameRoles(l.disk.truth()) {
		l.broken("%s %s was refused, and changed a role all the same", op.what, op.role)
	}
	if op.what == "tick" && op.err == nil {
		return
	}
	text := ""
	if op.err != nil {
		text = ": " + op.err.Error()
	}
	l.note("  #%d %s %s at %s: %s%s", number, op.what, op.role, op.node.name, outcome, text)
}

// running are the operations that have not been answered.
func (l *Life) running() []*operation {
	l.mu.Lock()
	defer l.mu.Unlock()
	var running []*operation
	for _, op := range l.operations {
		select {
		case <-op.done:
		default:
			running = append(running, op)
		}
	}
	l.operations = running
	return running
}

// await waits for an operation, or for a while where the climate lets operations overlap.
func (l *Life) await(op *operation) {
	limit := patience
	if l.climate.Overlap && roll(l.rt, "overlap", 2) == 1 {
		limit = []time.Duration{0, 300 * time.Millisecond, 2 * time.Second, 20 * time.Second}[roll(l.rt, "for", 4)]
	}
	select {
	case <-op.done:
	case <-time.After(limit):
		if limit == patience {
			l.fail("%s %s does not end", op.what, op.role)
		}
	}
	l.bury()
}

// bury follows a process that died by another one, as Vault's service manager does.
func (l *Life) bury() {
	if !l.leader.handle.isDead() {
		return
	}
	l.leader.engine.Stop()
	l.leader = nil
	name := "A"
	if l.climate.Leaders && roll(l.rt, "who follows", 2) == 1 {
		name = "B"
	}
	l.note("  %s starts", name)
	l.lead(name)
}

// quiet waits until nothing runs any more.
func (l *Life) quiet() {
	for _, op := range l.running() {
		select {
		case <-op.done:
		case <-time.After(patience):
			l.fail("%s %s does not end", op.what, op.role)
		}
	}
}

// end stops every process, so that no goroutine outlives the bubble.
func (l *Life) end() {
	for _, n := range []*node{l.leader, l.former, l.standby} {
		if n != nil {
			n.wire.sever()
			n.stop()
		}
	}
	for _, op := range l.running() {
		<-op.done
	}
	l.report.ended(l, time.Since(FirstDay))
}

// note writes the history down, line by line as it happens.
func (l *Life) note(format string, args ...any) {
	at := time.Since(FirstDay)
	line := fmt.Sprintf("%4dd %02d:%02d:%012.9f ", at/day, at%day/time.Hour, at%time.Hour/time.Minute, (at%time.Minute).Seconds()) + fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = append(l.history, line)
	l.rt.Logf("%s", line)
}

func (l *Life) tail(lines int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.history[max(0, len(l.history)-lines):], "\n")
}

// broken notes a promise that was broken, from wherever it was seen. The first one counts.
func (l *Life) broken(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.note("BROKEN: %s", text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrong == "" {
		l.wrong = text
	}
}

// fail ends the life.
func (l *Life) fail(format string, args ...any) {
	l.broken(format, args...)
	l.rt.Fatalf("%s", l.wrong)
}

// check holds the mount to its promises, here and now.
func (l *Life) check() {
	l.oracle.check()
	l.mu.Lock()
	wrong := l.wrong
	l.mu.Unlock()
	if wrong != "" {
		l.rt.Fatalf("%s", wrong)
	}
}

const day = 24 * time.Hour

// underWay are the operations that have not been answered, for whoever asks from an engine's goroutine.
func (l *Life) underWay() []*operation {
	l.mu.Lock()
	defer l.mu.Unlock()
	var running []*operation
	for _, op := range l.operations {
		select {
		case <-op.done:
		default:
			running = append(running, op)
		}
	}
	return running
}
