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

// truth is the content of storage, read without the engine's code. Golden files pin the layout.
type truth struct {
	roles       map[string]storedRole
	current     map[string]storedToken // by role, for roles that exist
	withoutRole map[string]storedToken // by role, for roles that do not exist, or not yet
	revocations []storedRevocation     // sorted by key
	admin       storedToken
	// adminChecked is when the engine last asked Modal about the admin token.
	adminChecked time.Time
	limited      bool // the admin token cannot manage service users
	server, ca   string
	// approvals are keyed by role. adminApproval is the key of the admin token's approval.
	approvals       map[string]storedApproval
	acceptedOrphans []string // accepted orphans, by service user name
	outOfSync       bool
	// The limits in config.
	maxRole string
	allowed []string
	paused  bool
	// pinned is the workspace that config pins, by name or ID. remembered is the name of the last verified admin
	// token's workspace.
	pinned, remembered string
	// verification is the interval between verifications of current tokens. 0 means never.
	verification time.Duration
}

type storedRole struct {
	Type        string        `json:"type"`
	Description string        `json:"description"`
	Environment string        `json:"environment"`
	Generation  string        `json:"generation_id"`
	Grace       time.Duration `json:"grace_period"`
	Refresh     time.Duration `json:"refresh_interval"`
	Period      time.Duration `json:"rotation_period"`
	// Keeps: the operators, not the engine, revoke the tokens that a rotation replaces.
	Keeps   bool `json:"keep_previous"`
	Managed *struct {
		TTL      time.Duration     `json:"token_ttl"`
		Schedule string            `json:"rotation_schedule"`
		Window   time.Duration     `json:"rotation_window"`
		Disabled bool              `json:"disable_automated_rotation"`
		Hold     time.Duration     `json:"hold_while_used"`
		Scoped   bool              `json:"scoped"`
		Roles    map[string]string `json:"environment_roles"`
	} `json:"managed"`
	Dynamic *struct {
		TTL       time.Duration     `json:"ttl"`
		MaxTTL    time.Duration     `json:"max_ttl"`
		MaxLeases int               `json:"max_leases"`
		Template  string            `json:"service_user_name_template"`
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
	LastRotation time.Time `json:"last_rotation"`
	NextAttempt  time.Time `json:"next_attempt"`
	Checked      time.Time `json:"checked"`
	Rejected     time.Time `json:"rejected"`
	Server       string    `json:"server_url"`
	LastError    string    `json:"last_error"`
}

// expiry says when the token expires, after a comma. It is empty for a token that does not expire.
func (t storedToken) expiry() string {
	if t.Expires.IsZero() {
		return ""
	}
	return ", expires " + t.Expires.Format(time.DateTime)
}

type storedRevocation struct {
	storedToken

	key             string
	Role            string    `json:"role"`
	Generation      string    `json:"generation_id"`
	Reason          string    `json:"reason"`
	Method          string    `json:"method"`
	NotBefore       time.Time `json:"not_before"`
	Forced          bool      `json:"forced"`
	DeletionStarted bool      `json:"deletion_started"`
	Leased          bool      `json:"leased"`
	HoldUntil       time.Time `json:"hold_until"`
	// FirstRejectedAt is when Modal first rejected the token while no other token showed that Modal accepts any.
	FirstRejectedAt time.Time `json:"first_rejected_at"`
	// FirstNotFoundAt is when Modal first did not find the service user of a failed creation.
	FirstNotFoundAt time.Time `json:"first_not_found_at"`
	Acknowledged    bool      `json:"acknowledged"`
	Rights          struct {
		Scoped bool              `json:"scoped"`
		Roles  map[string]string `json:"environment_roles"`
	} `json:"rights"`
}

// describe returns the state of the revocation in words. name is its key.
func (rev storedRevocation) describe(name string) string {
	text := "not before " + rev.NotBefore.Format(time.DateTime)
	for _, word := range []struct {
		said bool
		text string
	}{
		{rev.ID != "" && rev.ID != name, "token " + rev.ID},
		{rev.Identity != "" && rev.Identity != name && rev.IdentityType == "service_user", rev.Identity},
		{!rev.HoldUntil.IsZero(), "while used not before " + rev.HoldUntil.Format(time.DateTime)},
		{rev.Forced, "forced"},
		{rev.DeletionStarted, "deletion started"},
		{rev.Acknowledged, "deletion acknowledged"},
	} {
		if word.said {
			text += ", " + word.text
		}
	}
	return text
}

// mayExist reports whether Modal may have the lease's service user. A failed creation may also have left a service
// user.
func (rev storedRevocation) mayExist() bool {
	return rev.Reason != "unfinished" || rev.FirstNotFoundAt.IsZero()
}

// isActiveLease reports whether the revocation belongs to a lease whose deletion has not started.
func (rev storedRevocation) isActiveLease() bool {
	return rev.Reason == "lease" && !rev.DeletionStarted
}

type storedApproval struct {
	Flow    string    `json:"flow_id"`
	State   string    `json:"state"`
	Open    bool      `json:"open"`
	Lapses  time.Time `json:"lapses"`
	TokenID string    `json:"token_id"`
	Reason  string    `json:"reason"`
	// WaitSecret authorizes the engine's poll of this flow. Late lists the flows of approvals that have ended.
	WaitSecret string `json:"wait_secret"`
	Late       []struct {
		Flow  string    `json:"flow_id"`
		Until time.Time `json:"until"`
	} `json:"late"`
}

// polledFlows returns the flows that the engine polls, and the earliest time at which each poll may stop.
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

// adminApproval is the key of the admin token's approval. No role can have this name.
const adminApproval = "@config"

// truth returns the current content of storage. Callers share the result and must not change it.
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
				CA      string      `json:"ca_cert"`
				Most    string      `json:"max_environment_role"`
				Allowed []string    `json:"allowed_environments"`
				Paused  bool        `json:"paused"`
				Pinned  string      `json:"pinned_workspace"`

				Verification *time.Duration `json:"verification_interval"`
				Checked      time.Time      `json:"admin_checked"`
			}](data[key])
			t.adminChecked = config.Checked
			t.admin, t.server, t.ca, t.limited = config.Admin, config.Server, config.CA, config.Limit != ""
			t.maxRole, t.allowed, t.paused, t.pinned = config.Most, config.Allowed, config.Paused, config.Pinned
			t.verification = day
			if config.Verification != nil {
				t.verification = *config.Verification
			}
		}
	}
	// A credential without its role is left over from an unfinished create or delete. It is not a current token.
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

// sameRoles reports whether both truths have the same roles, settings and tokens.
func (t *truth) sameRoles(other *truth) bool {
	return reflect.DeepEqual(t.roles, other.roles) && reflect.DeepEqual(t.current, other.current) && t.admin.ID == other.admin.ID && t.server == other.server
}

func (t *truth) names() []string { return slices.Sorted(maps.Keys(t.roles)) }

func (t *truth) inQueue(id string) bool {
	return slices.ContainsFunc(t.revocations, func(rev storedRevocation) bool { return rev.ID == id || rev.key == id })
}

// revocationOfUser returns the revocation of a service user, if there is one.
func (t *truth) revocationOfUser(user string) (storedRevocation, bool) {
	at := slices.IndexFunc(t.revocations, func(rev storedRevocation) bool { return rev.IdentityType == "service_user" && rev.Identity == user })
	if at < 0 {
		return storedRevocation{}, false
	}
	return t.revocations[at], true
}

// revocationOfToken returns the revocation of a token, if there is one.
func (t *truth) revocationOfToken(id string) (storedRevocation, bool) {
	at := slices.IndexFunc(t.revocations, func(rev storedRevocation) bool { return rev.ID == id })
	if at < 0 {
		return storedRevocation{}, false
	}
	return t.revocations[at], true
}

// belongsTo reports whether a revocation belongs to the existing role, and not to a deleted role of the same name.
func (t *truth) belongsTo(rev storedRevocation, role string) bool {
	return rev.Role == role && rev.Generation == t.roles[role].Generation
}

// countLeases counts the role's leases that may exist at Modal, including leases that are being created.
func (t *truth) countLeases(role string) int {
	count := 0
	for _, rev := range t.revocations {
		if t.belongsTo(rev, role) && rev.Leased && rev.mayExist() {
			count++
		}
	}
	return count
}

// hasActiveLease reports whether the token belongs to a lease that has not ended.
func (t *truth) hasActiveLease(id string) bool {
	revocation, waits := t.revocationOfToken(id)
	return waits && revocation.isActiveLease() && !revocation.Forced && time.Now().Before(revocation.NotBefore)
}

// isFull reports whether a role has reached max_leases.
func (t *truth) isFull(role string) bool {
	policy := t.roles[role].Dynamic
	return policy != nil && policy.MaxLeases > 0 && t.countLeases(role) >= policy.MaxLeases
}

// countInGrace counts the role's tokens that consumers may still use and that the engine will revoke.
func (t *truth) countInGrace(role string, now time.Time) int {
	count := 0
	for _, rev := range t.revocations {
		if t.belongsTo(rev, role) && !rev.Leased && rev.Method == "automatic" && rev.Reason != "unfinished" && rev.Reason != "approved" && now.Before(rev.NotBefore) {
			count++
		}
	}
	return count
}

// isCurrent reports whether a token is a role's current token or the admin token.
func (t *truth) isCurrent(id string) bool {
	for _, cred := range t.current {
		if cred.ID == id {
			return true
		}
	}
	return id != "" && id == t.admin.ID
}

// exceedsLimits names a right that config does not allow, or returns "" if config allows all of them.
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

// tracks reports whether a role, config or the revocation queue knows a service user.
func (t *truth) tracks(name, tokenID string) bool {
	for _, cred := range t.current {
		if cred.ID == tokenID || (cred.IdentityType == "service_user" && cred.Identity == name) {
			return true
		}
	}
	if tokenID != "" && tokenID == t.admin.ID { // an operator supplied it with force
		return true
	}
	return slices.ContainsFunc(t.revocations, func(rev storedRevocation) bool {
		return rev.ID == tokenID || (rev.IdentityType == "service_user" && rev.Identity == name)
	})
}

// decode reads an entry. An unreadable entry becomes the zero value, and the invariants then fail.
func decode[T any](raw []byte) T {
	var record struct {
		Entry T `json:"entry"`
	}
	_ = json.Unmarshal(raw, &record)
	return record.Entry
}
