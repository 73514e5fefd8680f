// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// truth is what storage holds, read without the engine's code. The layout is what the golden files pin.
type truth struct {
	roles   map[string]storedRole
	current map[string]storedToken // of roles that exist
	withoutRole    map[string]storedToken // of roles that do not, or not yet
	revocations  []storedRevocation          // by key
	admin   storedToken
	limited bool // the admin token cannot manage service users
	server  string
	// approvals are by role, the admin's under a name that no role has.
	approvals map[string]storedApproval
	acceptedOrphans  []string // orphans
	outOfSync  bool
	// The ceilings of config.
	maxRole string
	allowed  []string
	paused   bool
	// pinned is the workspace that config pins, by name or ID, and remembered the name of the last verified
	// admin token's.
	pinned, remembered string
	// verification is how often current tokens are verified, 0 for never.
	verification time.Duration
}

type storedRole struct {
	Type       string        `json:"type"`
	Generation string        `json:"generation_id"`
	Grace      time.Duration `json:"grace_period"`
	Refresh    time.Duration `json:"refresh_interval"`
	Period     time.Duration `json:"rotation_period"`
	// Keeps: the engine leaves it to people to end the tokens that are replaced.
	Keeps   bool `json:"keep_previous"`
	Managed *struct {
		TTL      time.Duration     `json:"token_ttl"`
		Schedule string            `json:"rotation_schedule"`
		Disabled bool              `json:"disable_automated_rotation"`
		Hold     time.Duration     `json:"hold_while_used"`
		Scoped   bool              `json:"scoped"`
		Roles    map[string]string `json:"environment_roles"`
	} `json:"managed"`
	Dynamic *struct {
		TTL       time.Duration     `json:"ttl"`
		MaxTTL    time.Duration     `json:"max_ttl"`
		MaxLeases int               `json:"max_leases"`
		Scoped    bool              `json:"scoped"`
		Roles     map[string]string `json:"environment_roles"`
	} `json:"dynamic"`
}

type storedToken struct {
	ID           string    `json:"token_id"`
	Secret       string    `json:"token_secret"`
	IdentityType string    `json:"identity_type"`
	Identity     string    `json:"identity"`
	Workspace    string    `json:"workspace"`
	WorkspaceID  string    `json:"workspace_id"`
	Expires      time.Time `json:"expires_at"`
	Verified     time.Time `json:"last_verified"`
	Version      int64     `json:"version"`
	Next         time.Time `json:"next_rotation"`
	Attempts     int       `json:"attempts"`
	Server       string    `json:"server_url"`
	LastError    string    `json:"last_error"`
}

type storedRevocation struct {
	storedToken

	key        string
	Role       string    `json:"role"`
	Generation string    `json:"generation_id"`
	Reason     string    `json:"reason"`
	Method     string    `json:"method"`
	NotBefore  time.Time `json:"not_before"`
	Forced     bool      `json:"forced"`
	DeletionStarted      bool      `json:"deletion_started"`
	Leased     bool      `json:"leased"`
	HoldUntil  time.Time `json:"hold_until"`
	// NotFound is when Modal was first seen not to know the service user of a creation that failed.
	FirstNotFoundAt     time.Time `json:"first_not_found_at"`
	Acknowledged bool      `json:"acknowledged"`
	Rights       struct {
		Scoped bool              `json:"scoped"`
		Roles  map[string]string `json:"environment_roles"`
	} `json:"rights"`
}

// mayLive says that Modal may have the service user of a lease, also of one that a read failed to create.
func (rev storedRevocation) mayExist() bool { return rev.Reason != "unfinished" || rev.FirstNotFoundAt.IsZero() }

// isRunning says that an entry is a lease's whose end nobody has begun.
func (rev storedRevocation) isActiveLease() bool { return rev.Reason == "lease" && !rev.DeletionStarted }

type storedApproval struct {
	Flow    string    `json:"flow_id"`
	State   string    `json:"state"`
	Open    bool      `json:"open"`
	Lapses  time.Time `json:"lapses"`
	TokenID string    `json:"token_id"`
	Reason    string    `json:"reason"`
	// Waits is what the engine asks with for this flow, and Late are the flows of approvals that have ended.
	WaitSecret string `json:"wait_secret"`
	Late  []struct {
		Flow  string    `json:"flow_id"`
		Until time.Time `json:"until"`
	} `json:"late"`
}

// asksFor are the flows that the engine asks for, and until when it does at least.
func (a storedApproval) polledFlows() map[string]time.Time {
	flows := map[string]time.Time{}
	if a.WaitSecret != "" {
		flows[a.Flow] = a.Lapses.Add(pollAfterEnd)
	}
	for _, late := range a.Late {
		flows[late.Flow] = late.Until
	}
	return flows
}

// adminApproval is the key of the admin's approval.
const adminApproval = "@config"

// truth is shared: nobody changes it.
func (d *disk) truth() *truth {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cached == nil {
		d.cached = readTruth(d.data)
	}
	return d.cached
}

func readTruth(data map[string][]byte) *truth {
	t := &truth{roles: map[string]storedRole{}, current: map[string]storedToken{}, withoutRole: map[string]storedToken{}, approvals: map[string]storedApproval{}}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		kind, name, _ := strings.Cut(key, "/")
		switch kind {
		case "role":
			t.roles[name] = decode[storedRole](data[key])
		case "revocation":
			revocation := decode[storedRevocation](data[key])
			revocation.key = name
			t.revocations = append(t.revocations, revocation)
		case "approval":
			t.approvals[name] = decode[storedApproval](data[key])
		case "orphans":
			orphans := decode[struct {
				Since    time.Time `json:"since"`
				Accepted []string  `json:"accepted"`
			}](data[key])
			t.outOfSync, t.acceptedOrphans = !orphans.Since.IsZero(), orphans.Accepted
		case "workspace":
			t.remembered = decode[struct {
				Name string `json:"name"`
			}](data[key]).Name
		case "config":
			config := decode[struct {
				Admin   storedToken `json:"admin"`
				Limit   string      `json:"limitation"`
				Server  string      `json:"server_url"`
				Most    string      `json:"max_environment_role"`
				Allowed []string    `json:"allowed_environments"`
				Paused  bool        `json:"paused"`
				Pinned  string      `json:"pinned_workspace"`

				Verification *time.Duration `json:"verification_interval"`
			}](data[key])
			t.admin, t.server, t.limited = config.Admin, config.Server, config.Limit != ""
			t.maxRole, t.allowed, t.paused, t.pinned = config.Most, config.Allowed, config.Paused, config.Pinned
			t.verification = day
			if config.Verification != nil {
				t.verification = *config.Verification
			}
		}
	}
	// A credential without its role is what a half-done create or delete left, and nobody's token.
	for key, raw := range data {
		name, token := strings.CutPrefix(key, "cred/")
		if _, exists := t.roles[name]; token && exists {
			t.current[name] = decode[storedToken](raw)
		} else if token {
			t.withoutRole[name] = decode[storedToken](raw)
		}
	}
	return t
}

// sameRoles says whether two readings have the same roles with the same policies and tokens.
func (t *truth) sameRoles(other *truth) bool {
	return reflect.DeepEqual(t.roles, other.roles) && reflect.DeepEqual(t.current, other.current) && t.admin.ID == other.admin.ID && t.server == other.server
}

func (t *truth) names() []string { return slices.Sorted(maps.Keys(t.roles)) }

func (t *truth) inQueue(id string) bool {
	return slices.ContainsFunc(t.revocations, func(rev storedRevocation) bool { return rev.ID == id || rev.key == id })
}

// entry is the one of a service user, and whether there is one.
func (t *truth) revocationOfUser(user string) (storedRevocation, bool) {
	at := slices.IndexFunc(t.revocations, func(rev storedRevocation) bool { return rev.IdentityType == "service_user" && rev.Identity == user })
	if at < 0 {
		return storedRevocation{}, false
	}
	return t.revocations[at], true
}

// waiting is the entry of a token, and whether there is one.
func (t *truth) revocationOfToken(id string) (storedRevocation, bool) {
	at := slices.IndexFunc(t.revocations, func(rev storedRevocation) bool { return rev.ID == id })
	if at < 0 {
		return storedRevocation{}, false
	}
	return t.revocations[at], true
}

// isOf reports whether an entry is of this very role, and not of a deleted role of the same name.
func (t *truth) belongsTo(rev storedRevocation, role string) bool {
	return rev.Role == role && rev.Generation == t.roles[role].Generation
}

// leases counts a role's leases that Modal may have, those on their way too.
func (t *truth) countLeases(role string) int {
	count := 0
	for _, rev := range t.revocations {
		if t.belongsTo(rev, role) && rev.Leased && rev.mayExist() {
			count++
		}
	}
	return count
}

// hasRunning says that a token is a lease's whose end has not come.
func (t *truth) hasActiveLease(id string) bool {
	revocation, waits := t.revocationOfToken(id)
	return waits && revocation.isActiveLease() && !revocation.Forced && time.Now().Before(revocation.NotBefore)
}

// isFull says that a role has as many leases as it may have.
func (t *truth) isFull(role string) bool {
	policy := t.roles[role].Dynamic
	return policy != nil && policy.MaxLeases > 0 && t.countLeases(role) >= policy.MaxLeases
}

// inGrace counts a role's tokens that the engine will end, and that consumers may still use.
func (t *truth) countInGrace(role string, now time.Time) int {
	count := 0
	for _, rev := range t.revocations {
		if t.belongsTo(rev, role) && !rev.Leased && rev.Method == "automatic" && rev.Reason != "unfinished" && rev.Reason != "approved" && now.Before(rev.NotBefore) {
			count++
		}
	}
	return count
}

// inUse says whether a token is a role's current one, or the admin's.
func (t *truth) isCurrent(id string) bool {
	for _, cred := range t.current {
		if cred.ID == id {
			return true
		}
	}
	return id != "" && id == t.admin.ID
}

// exceeds says what of a service user's rights config does not allow, empty for nothing.
func (t *truth) exceedsLimits(scoped bool, roles map[string]string) string {
	if (t.maxRole != "" || len(t.allowed) > 0) && !scoped {
		return "it is not scoped"
	}
	for _, environment := range slices.Sorted(maps.Keys(roles)) {
		if len(t.allowed) > 0 && !slices.Contains(t.allowed, environment) {
			return "environment " + environment
		}
		if t.maxRole == "viewer" && roles[environment] != "viewer" {
			return roles[environment] + " of environment " + environment
		}
	}
	return ""
}

// answersFor says whether a role, config or the ledger knows a service user.
func (t *truth) tracks(name, tokenID string) bool {
	for _, cred := range t.current {
		if cred.ID == tokenID || (cred.IdentityType == "service_user" && cred.Identity == name) {
			return true
		}
	}
	if tokenID != "" && tokenID == t.admin.ID { // an operator brought it by force
		return true
	}
	return slices.ContainsFunc(t.revocations, func(rev storedRevocation) bool {
		return rev.ID == tokenID || (rev.IdentityType == "service_user" && rev.Identity == name)
	})
}

// decode reads an entry; one that cannot be read is the zero value, which the invariants then miss.
func decode[T any](raw []byte) T {
	var record struct {
		Entry T `json:"entry"`
	}
	_ = json.Unmarshal(raw, &record)
	return record.Entry
}
