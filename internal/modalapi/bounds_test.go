// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// hostileTexts are texts that must never pass through unchanged.
var hostileTexts = map[string]string{
	"giant":         strings.Repeat("x", 1<<18),
	"giant and odd": strings.Repeat("é\x1b[31m\n", 1<<16),
	"secret":        "team " + someSecret,
	"secret's body": "team-" + strings.ToLower(someSecret[3:]),
	"token's shape": "team-as-0f1e2d3c4b5a6978QWERTY",
	"lines":         "two\r\nlines",
	"colours":       "\x1b[31mred",
	"no width":      "ci\u200b",
	"white space":   " ci",
}

func requireSafeNames(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		require.LessOrEqual(t, len(name), 128)
		require.Equal(t, -1, strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }))
		require.NotContains(t, letters(name), letters(someSecret[3:]))
		require.NotContains(t, name, "0f1e2d3c4b5a6978QWERTY")
	}
}

func TestNames_OfAnIdentityAreSafeToShow(t *testing.T) {
	t.Parallel()
	for what, text := range hostileTexts {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
				answer := goodAnswer()
				answer.WorkspaceName, answer.TokenName = text, text
				answer.UserIdentity = pb.UserIdentity_builder{UserId: "us-1", Username: text}.Build()
				return answer.Build(), nil
			})

			who, err := client.WhoAmI(t.Context(), someToken)

			require.NoError(t, err)
			requireSafeNames(t, who.WorkspaceName, who.TokenName, who.Name)
			require.True(t, strings.HasSuffix(who.WorkspaceName, "…"), "a changed name ends in …")
		})
	}
}

func TestNames_OfAServiceUsersIdentityAreSafeToShow(t *testing.T) {
	t.Parallel()
	for what, text := range hostileTexts {
		client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
			answer := goodAnswer()
			answer.UserIdentity = nil
			answer.ServiceUserIdentity = pb.ServiceUserIdentity_builder{ServiceUserId: "sv-1", ServiceUserName: text}.Build()
			return answer.Build(), nil
		})

		who, err := client.WhoAmI(t.Context(), someToken)

		require.NoError(t, err, what)
		requireSafeNames(t, who.Name)
		require.True(t, strings.HasSuffix(who.Name, "…"), "a changed name equals no real name")
	}
}

func TestIDs_InvalidOwnerOrTokenIDMakesTheAnswerUntrusted(t *testing.T) {
	t.Parallel()
	for what, text := range hostileTexts {
		for says, spoil := range map[string]func(*pb.TokenInfoGetResponse_builder){
			"it names no owner": func(b *pb.TokenInfoGetResponse_builder) {
				b.UserIdentity = pb.UserIdentity_builder{UserId: text, Username: "ada"}.Build()
			},
			"it names no owner (service user)": func(b *pb.TokenInfoGetResponse_builder) {
				b.UserIdentity = nil
				b.ServiceUserIdentity = pb.ServiceUserIdentity_builder{ServiceUserId: text, ServiceUserName: "ci"}.Build()
			},
			"it describes another token":             func(b *pb.TokenInfoGetResponse_builder) { b.TokenId = text },
			"it describes another token (longer ID)": func(b *pb.TokenInfoGetResponse_builder) { b.TokenId += "x" },
		} {
			client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
				answer := goodAnswer()
				spoil(&answer)
				return answer.Build(), nil
			})

			_, err := client.WhoAmI(t.Context(), someToken)

			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err), "%s: %s", what, says)
			says, _, _ = strings.Cut(says, " (")
			require.ErrorContains(t, err, says, what)
			require.Less(t, len(err.Error()), 300)
		}
	}
}

func TestNames_OrdinaryNamesStayUnchanged(t *testing.T) {
	t.Parallel()
	names := []string{"acme", "Ada's Größe & Söhne (東京)", "vault-0a1b2c3d-as-production-europe-x1y2z3w4", strings.Repeat("x", 128), "100%", "eyJournal"}
	for _, name := range append(names, noSecrets...) {
		client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
			answer := goodAnswer()
			answer.WorkspaceName = name
			return answer.Build(), nil
		})

		who, err := client.WhoAmI(t.Context(), someToken)

		require.NoError(t, err)
		require.Equal(t, name, who.WorkspaceName)
	}
}

// An ID is compared and sent back to Modal. A shortened or repaired ID could belong to somebody else.
func TestIDs_InvalidIDMakesTheAnswerUntrusted(t *testing.T) {
	t.Parallel()
	for what, text := range hostileTexts {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
				answer := goodAnswer()
				answer.WorkspaceId = text
				return answer.Build(), nil
			})

			_, err := client.WhoAmI(t.Context(), someToken)

			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.ErrorContains(t, err, "it names no workspace")
			require.Less(t, len(err.Error()), 500)
		})
	}
}

func TestServiceUsers_EachTextIsBoundedAndNoUserIsOmitted(t *testing.T) {
	t.Parallel()
	var sent []*pb.ServiceUser
	for _, text := range hostileTexts {
		sent = append(sent, pb.ServiceUser_builder{
			Name: text, ServiceUserId: text, TokenId: text, Status: text,
			EnvironmentRoles: []*pb.ServiceUser_EnvironmentRoleEntry{
				pb.ServiceUser_EnvironmentRoleEntry_builder{EnvironmentName: text, RoleStr: text}.Build(),
			},
		}.Build())
	}
	client := answering(t, func(context.Context) (*pb.ServiceUserListResponse, error) {
		return pb.ServiceUserListResponse_builder{ServiceUsers: sent}.Build(), nil
	})

	users, err := client.ServiceUsers(t.Context(), someToken)

	require.NoError(t, err)
	require.Len(t, users, len(sent))
	for _, user := range users {
		requireSafeNames(t, user.ID, user.Name, user.TokenID, user.Status)
		require.Empty(t, user.ID)
		for environment, role := range user.Roles {
			requireSafeNames(t, environment, string(role))
		}
	}
}

func TestServiceUser_TooManyRolesAreRefused(t *testing.T) {
	t.Parallel()
	user := pb.ServiceUser_builder{Name: "ci", ServiceUserId: "sv-1"}
	for i := range 20_000 {
		user.EnvironmentRoles = append(user.EnvironmentRoles,
			pb.ServiceUser_EnvironmentRoleEntry_builder{EnvironmentName: "env-" + strconv.Itoa(i) + strings.Repeat("x", 100), RoleStr: someSecret}.Build())
	}
	one := answering(t, func(context.Context) (*pb.ServiceUserInfoResponse, error) {
		return pb.ServiceUserInfoResponse_builder{ServiceUser: user.Build()}.Build(), nil
	})
	all := answering(t, func(context.Context) (*pb.ServiceUserListResponse, error) {
		return pb.ServiceUserListResponse_builder{ServiceUsers: []*pb.ServiceUser{user.Build()}}.Build(), nil
	})

	_, err := one.ServiceUser(t.Context(), someToken, "ci")
	_, errOfAll := all.ServiceUsers(t.Context(), someToken)

	for _, err := range []error{err, errOfAll} {
		require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
		require.ErrorContains(t, err, "20000 environment roles of one service user, which is more than a workspace can have")
		require.Less(t, len(err.Error()), 500)
	}
}

// The engine deletes a service user by this ID.
func TestServiceUser_WithoutAnIDIsAnError(t *testing.T) {
	t.Parallel()
	client := answering(t, func(context.Context) (*pb.ServiceUserInfoResponse, error) {
		return pb.ServiceUserInfoResponse_builder{ServiceUser: pb.ServiceUser_builder{Name: "ci", ServiceUserId: "sv 1"}.Build()}.Build(), nil
	})

	_, err := client.ServiceUser(t.Context(), someToken, "ci")

	require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
	require.ErrorContains(t, err, "it has no service user ID")
}

func TestErrors_AreShortForAnyTextOfModal(t *testing.T) {
	t.Parallel()
	for what, text := range hostileTexts {
		for _, code := range []codes.Code{codes.Unauthenticated, codes.NotFound, codes.DataLoss, codes.Unimplemented} {
			t.Run(what+"/"+code.String(), func(t *testing.T) {
				t.Parallel()
				client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
					return nil, status.Error(code, text[:min(len(text), 1<<15)])
				})

				_, err := client.WhoAmI(t.Context(), someToken)

				require.Error(t, err)
				require.Less(t, len(err.Error()), 400)
				require.Equal(t, -1, strings.IndexFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }))
				require.NotContains(t, letters(err.Error()), letters(someSecret[3:]))
			})
		}
	}
}

func TestErrors_RepeatNoSpellingOfTheSecret(t *testing.T) {
	t.Parallel()
	for _, c := range spellings {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := answering(t, func(context.Context) (*pb.ServiceUserInfoResponse, error) {
				return nil, status.Error(codes.PermissionDenied, "bad "+c.spell(someSecret))
			})

			_, err := client.ServiceUser(t.Context(), someToken, "ci")

			require.Equal(t, modalapi.KindForbidden, modalapi.KindOf(err))
			require.Contains(t, err.Error(), "[redacted]")
			for i := range len(someSecret) - 3 - 5 {
				require.NotContains(t, letters(err.Error()), letters(someSecret[3+i:3+i+6]))
			}
		})
	}
}

func TestTimes_OutsideRFC3339AreZero(t *testing.T) {
	t.Parallel()
	client := answering(t, func(context.Context) (*pb.ServiceUserListResponse, error) {
		var users []*pb.ServiceUser
		for _, at := range []float64{253402300800, math.Nextafter(253402300800, 0), 9e11, 1e300, math.Inf(1), math.NaN(), -1} {
			users = append(users, pb.ServiceUser_builder{CreatedAt: at, LastUsedAt: at, ExpiresAt: &at}.Build())
		}
		return pb.ServiceUserListResponse_builder{ServiceUsers: users}.Build(), nil
	})
	who := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
		answer := goodAnswer()
		answer.CreatedAt, answer.ExpiresAt = &timestamppb.Timestamp{Seconds: 9e11}, &timestamppb.Timestamp{Seconds: math.MaxInt64}
		return answer.Build(), nil
	})

	users, err := client.ServiceUsers(t.Context(), someToken)
	require.NoError(t, err)
	identity, err := who.WhoAmI(t.Context(), someToken)
	require.NoError(t, err)

	require.Zero(t, identity.CreatedAt)
	require.Zero(t, identity.ExpiresAt)
	for _, user := range users {
		for _, at := range []time.Time{user.CreatedAt, user.LastUsedAt, user.ExpiresAt} {
			_, err := json.Marshal(at)
			require.NoError(t, err)
			require.Less(t, at.Year(), 10_000)
		}
	}
}
