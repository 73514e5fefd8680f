// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	modalsecrets "vault-plugin-secrets-modal"
	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/sim"
	"vault-plugin-secrets-modal/internal/state"
)

// driver lets the simulation use the engine through requests, as Vault does.
type driver struct {
	*modalsecrets.Backend

	storage logical.Storage
}

func startDriver(ctx context.Context, w sim.Deps) (sim.Engine, error) {
	system := &logical.StaticSystemView{PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.2"}, DefaultLeaseTTLVal: longestLease, MaxLeaseTTLVal: longestLease}
	if w.Standby {
		system.ReplicationStateVal = consts.ReplicationPerformanceStandby
	}
	output, level := w.Log, hclog.Trace
	if output == nil {
		output, level = io.Discard, hclog.Off
	}
	b, err := modalsecrets.New(ctx, &logical.BackendConfig{
		Logger: hclog.New(&hclog.LoggerOptions{Level: level, Output: output, TimeFn: w.Now}), System: system, StorageView: w.Storage,
		EventsSender: events{w.Event}, BackendUUID: w.Mount,
	}, state.Deps{Now: w.Now, Wait: w.Sleep, Stagger: w.Stagger, Connect: func(o modalapi.Options) (state.Modal, error) {
		o.Dial, o.Jitter = w.Dial, w.Random
		return modalapi.New(o)
	}})
	return &driver{Backend: b, storage: w.Storage}, err
}

// longestLease is Vault's default limit for leases.
const longestLease = 32 * model.Day

// events passes every event to the simulation.
type events struct{ receive func(e sim.Event) }

func (v events) SendEvent(_ context.Context, kind logical.EventType, data *logical.EventData) error {
	event := sim.Event{Kind: string(kind), Data: map[string]string{}}
	for name, value := range data.GetMetadata().AsMap() {
		event.Data[name] = fmt.Sprint(value)
	}
	v.receive(event)
	return nil
}

// ask sends a request and tells a user error from a failure.
func (d *driver) ask(ctx context.Context, op logical.Operation, path string, data map[string]any) (map[string]any, error) {
	resp, err := d.request(ctx, op, path, data, nil)
	if err != nil || resp == nil || resp.Data[logical.HTTPStatusCode] != nil { // a status code means that the object does not exist
		return nil, err
	}
	return resp.Data, nil
}

func (d *driver) request(ctx context.Context, op logical.Operation, path string, data map[string]any, lease *logical.Secret) (*logical.Response, error) {
	return d.send(ctx, &logical.Request{Operation: op, Path: path, Data: data, Secret: lease})
}

// send sends a request as Vault does, and tells a user error from a failure.
func (d *driver) send(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	req.Storage, req.MountPoint = d.storage, "modal/"
	if req.Data == nil {
		req.Data = map[string]any{}
	}
	if route := d.Route(req.Path); req.Operation == logical.UpdateOperation && route != nil && route.ExistenceCheck != nil {
		if _, exists, err := d.HandleExistenceCheck(ctx, req); err != nil || !exists {
			req.Operation = logical.CreateOperation
		}
	}
	resp, err := d.HandleRequest(ctx, req)
	switch {
	case resp.IsError() && (err == nil || errors.Is(err, logical.ErrInvalidRequest)):
		return nil, &sim.UserError{Text: resp.Error().Error()}
	case errors.Is(err, logical.ErrReadOnly):
		return nil, sim.ErrForwarded
	case isNotFound(err):
		return nil, &sim.UserError{Text: err.Error()}
	case err != nil:
		return nil, err
	}
	return resp, nil
}

func (d *driver) write(ctx context.Context, path string, data map[string]any) (map[string]any, error) {
	return d.ask(ctx, logical.UpdateOperation, path, data)
}

// fields collects the fields that a write sets.
type fields map[string]any

func set[T any](s fields, field string, value *T) {
	if value == nil {
		return
	}
	if d, ok := any(*value).(time.Duration); ok {
		s[field] = int(d.Seconds())
		return
	}
	s[field] = *value
}

func (s fields) token(t *sim.Token, unverified bool) {
	if t == nil {
		return
	}
	maps.Copy(s, map[string]any{"token_id": t.ID, "token_secret": t.Secret, "verify": !unverified})
}

func (d *driver) WriteConfig(ctx context.Context, c sim.Config) error {
	s := fields{}
	s.token(c.Admin, c.Unverified)
	set(s, "server_url", c.ServerURL)
	set(s, "ca_cert", c.CACert)
	set(s, "max_environment_role", c.MaxEnvironmentRole)
	set(s, "allowed_environments", c.AllowedEnvironments)
	set(s, "request_timeout", c.RequestTimeout)
	set(s, "grace_period", c.Grace)
	set(s, "verification_interval", c.Verification)
	set(s, "paused", c.Paused)
	set(s, "pinned_workspace", c.Pinned)
	for field, value := range map[string]bool{"remove_admin_token": c.RemoveAdmin, "force": c.Force} {
		if value {
			s[field] = value
		}
	}
	_, err := d.write(ctx, "config", s)
	return err
}

func (d *driver) RotateAdmin(ctx context.Context, r sim.AdminRotation) (sim.RotationResult, error) {
	s := fields{"token_id": r.Token.ID, "token_secret": r.Token.Secret, "force": r.Force}
	set(s, "grace_period", r.Grace)
	data, err := d.write(ctx, "config/rotate", s)
	if err != nil {
		return sim.RotationResult{}, err
	}
	return rotationResult(data)
}

func approvalPath(role string) string {
	if role == "" {
		return "config/approval"
	}
	return "rotate/" + role + "/approval"
}

func (d *driver) BeginApproval(ctx context.Context, role string, a sim.Approval) error {
	s := fields{"force": a.Force}
	set(s, "token_ttl", a.TTL)
	set(s, "grace_period", a.Grace)
	set(s, "lapse_after", a.LapseAfter)
	_, err := d.write(ctx, approvalPath(role), s)
	return err
}

func (d *driver) ReadApproval(ctx context.Context, role string, wait time.Duration) (string, error) {
	s := fields{}
	if wait > 0 {
		set(s, "wait", &wait)
	}
	data, err := d.ask(ctx, logical.ReadOperation, approvalPath(role), s)
	state, _ := data["state"].(string)
	return state, err
}

func (d *driver) CancelApproval(ctx context.Context, role string) error {
	_, err := d.ask(ctx, logical.DeleteOperation, approvalPath(role), nil)
	return err
}

func (d *driver) WriteRole(ctx context.Context, role string, p sim.RoleSettings) error {
	s := fields{}
	s.token(p.Token, p.Unverified)
	set(s, "type", p.Type)
	set(s, "environment_roles", p.EnvironmentRoles)
	set(s, "description", p.Description)
	set(s, "environment", p.Environment)
	set(s, "refresh_interval", p.Refresh)
	set(s, "grace_period", p.Grace)
	set(s, "rotation_period", p.Period)
	set(s, "rotation_schedule", p.Schedule)
	set(s, "rotation_window", p.Window)
	set(s, "token_ttl", p.TTL)
	set(s, "scoped", p.Scoped)
	set(s, "disable_automated_rotation", p.Disabled)
	set(s, "revoke_previous", p.RevokePrevious)
	set(s, "hold_while_used", p.HoldWhileUsed)
	set(s, "ttl", p.LeaseTTL)
	set(s, "max_ttl", p.MaxTTL)
	set(s, "max_leases", p.MaxLeases)
	set(s, "service_user_name_template", p.NameTemplate)
	if p.Force {
		s["force"] = true
	}
	_, err := d.write(ctx, "roles/"+role, s)
	return err
}

func (d *driver) DeleteRole(ctx context.Context, role string, force bool) error {
	s := fields{}
	if force {
		s["force"] = true
	}
	_, err := d.ask(ctx, logical.DeleteOperation, "roles/"+role, s)
	return err
}

func (d *driver) Rotate(ctx context.Context, role string, r sim.Rotation) (sim.RotationResult, error) {
	s := fields{}
	s.token(r.Token, r.Unverified)
	set(s, "grace_period", r.Grace)
	for field, value := range map[string]bool{"force": r.Force, "to_previous": r.ToPrevious, "dry_run": r.DryRun} {
		if value {
			s[field] = value
		}
	}
	data, err := d.write(ctx, "rotate/"+role, s)
	if err != nil {
		return sim.RotationResult{}, err
	}
	return rotationResult(data)
}

func rotationResult(data map[string]any) (done sim.RotationResult, err error) {
	done.Version, _ = data["version"].(int64)
	done.TokenID, _ = data["token_id"].(string)
	done.PreviousID, _ = data["previous_token_id"].(string)
	if text, _ := data["not_before"].(string); text != "" {
		done.NotBefore, err = time.Parse(time.RFC3339, text)
	}
	return done, err
}

func (d *driver) Retry(ctx context.Context, id string, force bool) (bool, error) {
	s := fields{}
	if force {
		s["force"] = true
	}
	data, err := d.write(ctx, "revocations/"+id, s)
	revoked, _ := data["revoked"].(bool)
	return revoked, err
}

func (d *driver) Forget(ctx context.Context, id string, force bool) error {
	s := fields{}
	if force {
		s["force"] = true
	}
	_, err := d.ask(ctx, logical.DeleteOperation, "revocations/"+id, s)
	return err
}

func (d *driver) Read(ctx context.Context, role string) (*sim.Credentials, error) {
	resp, err := d.request(ctx, logical.ReadOperation, "creds/"+role, nil, nil)
	if err != nil || resp == nil || resp.Secret != nil || resp.Data[logical.HTTPStatusCode] != nil {
		return nil, err
	}
	return credentials(resp)
}

func credentials(resp *logical.Response) (*sim.Credentials, error) {
	c, data := &sim.Credentials{Warnings: resp.Warnings}, resp.Data
	c.ID, _ = data["token_id"].(string)
	c.Secret, _ = data["token_secret"].(string)
	c.Version, _ = data["version"].(int64)
	c.ServerURL, _ = data["server_url"].(string)
	c.Environment, _ = data["environment"].(string)
	ttl, _ := data["ttl"].(int64)
	period, _ := data["rotation_period"].(int64)
	c.TTL, c.Period = time.Duration(ttl)*time.Second, time.Duration(period)*time.Second
	var err error
	for name, at := range map[string]*time.Time{"last_vault_rotation": &c.LastRotation, "expires_at": &c.Expires} {
		if text, _ := data[name].(string); text != "" && err == nil {
			*at, err = time.Parse(time.RFC3339, text)
		}
	}
	return c, err
}

func (d *driver) NewLease(ctx context.Context, role, displayName string) (*sim.Lease, error) {
	req := &logical.Request{Operation: logical.ReadOperation, Path: "creds/" + role, DisplayName: displayName}
	resp, err := d.send(ctx, req)
	if err != nil || resp == nil || resp.Secret == nil {
		return nil, err
	}
	got, err := credentials(resp)
	if err != nil {
		return nil, err
	}
	lease := &sim.Lease{Credentials: *got, Role: role, TTL: resp.Secret.TTL, Max: resp.Secret.MaxTTL}
	kept, err := json.Marshal(resp.Secret.InternalData) // Vault keeps lease data as JSON
	if err == nil {
		err = json.Unmarshal(kept, &lease.InternalData)
	}
	return lease, err
}

func (d *driver) ofLease(ctx context.Context, op logical.Operation, l *sim.Lease, issued time.Time, increment time.Duration) (*logical.Response, error) {
	secret := &logical.Secret{InternalData: l.InternalData}
	secret.TTL, secret.MaxTTL, secret.Renewable, secret.IssueTime, secret.Increment = l.TTL, l.Max, true, issued, increment
	return d.request(ctx, op, "creds/"+l.Role, nil, secret)
}

func (d *driver) Renew(ctx context.Context, l *sim.Lease, issued time.Time, increment time.Duration) (time.Duration, error) {
	resp, err := d.ofLease(ctx, logical.RenewOperation, l, issued, increment)
	if err != nil {
		return 0, err
	}
	return resp.Secret.TTL, nil
}

func (d *driver) EndLease(ctx context.Context, l *sim.Lease) error {
	_, err := d.ofLease(ctx, logical.RevokeOperation, l, time.Time{}, 0)
	return err
}

func (d *driver) Lookup(ctx context.Context, tokenID string) (found sim.Lookup, err error) {
	resp, err := d.request(ctx, logical.UpdateOperation, "lookup", map[string]any{"token_id": tokenID}, nil)
	if err != nil {
		return found, err
	}
	for field, value := range map[string]*string{"kind": &found.Kind, "role": &found.Role, "description": &found.Description, "revocation": &found.Revocation} {
		*value, _ = resp.Data[field].(string)
	}
	found.Version, _ = resp.Data["version"].(int64)
	found.Warned = len(resp.Warnings) > 0
	return found, nil
}

func (d *driver) Status(ctx context.Context) (sim.Status, error) {
	data, err := d.ask(ctx, logical.ReadOperation, "status", nil)
	s := sim.Status{Counts: map[string]int64{}}
	for field, value := range data {
		if count, ok := value.(int64); ok {
			s.Counts[field] = count
		}
	}
	s.Paused, _ = data["paused"].(bool)
	s.OutOfSync, _ = data["out_of_sync"].(bool)
	return s, err
}

func (d *driver) Verify(ctx context.Context, role string) (v sim.Verification, err error) {
	data, err := d.write(ctx, "verify/"+role, nil)
	v.Accepted, _ = data["accepted"].(bool)
	v.RolesDiffer, _ = data["roles_differ"].(bool)
	return v, err
}

func (d *driver) Orphans(ctx context.Context) ([]string, error) {
	data, err := d.ask(ctx, logical.ListOperation, "orphans", nil)
	names, _ := data["keys"].([]string)
	return names, err
}

func (d *driver) CleanUpOrphans(ctx context.Context, t sim.CleanupRequest) (done sim.CleanupResult, err error) {
	s := fields{"dry_run": t.DryRun, "accept": t.Accept}
	if t.Names != nil {
		s["names"] = t.Names
	}
	data, err := d.write(ctx, "orphans", s)
	done.Names, _ = data["names"].([]string)
	done.Left, _ = data["left"].(int64)
	done.OutOfSync, _ = data["out_of_sync"].(bool)
	return done, err
}

func (d *driver) OutOfSync(ctx context.Context) (bool, error) {
	s, err := d.Status(ctx)
	return s.OutOfSync, err
}

func (d *driver) State(ctx context.Context, role string) (string, error) {
	data, err := d.ask(ctx, logical.ReadOperation, "rotate/"+role, nil)
	state, _ := data["state"].(string)
	return state, err
}

func (d *driver) Revocations(ctx context.Context) ([]string, error) {
	data, err := d.ask(ctx, logical.ListOperation, "revocations", nil)
	keys, _ := data["keys"].([]string)
	return keys, err
}

func (d *driver) Tick(ctx context.Context) error {
	_, err := d.ask(ctx, logical.RollbackOperation, "", nil)
	return err
}

func (d *driver) Invalidate(ctx context.Context, key string) { d.InvalidateKey(ctx, key) }

func (d *driver) Stop() { d.Cleanup(context.Background()) }
