package postgres

import "github.com/lockstephq/lockstep"

// upsertConsents keeps what the users of "upserts" say about marketing, where a
// place is mapped and the profile took that version ("written"). A word is as old
// as the version that brought it. Of one that is there at the first look nobody
// knows how old it is: it counts as old as the user, so that whatever the person
// said in a shop since then stands. Changed is what a target may have to hear.
const upsertConsents = `
  insert into lockstep.consents as c (clerk_user_id, place, subscribed, said_at, version_at)
  select user_id, place, subscribed, created_at, updated_at from upserts join written on written.id = user_id
   where place <> '' order by user_id
  on conflict (clerk_user_id) do update set place = excluded.place, subscribed = excluded.subscribed, version_at = excluded.version_at,
    said_at = case when c.place = excluded.place then excluded.version_at else excluded.said_at end
   where (c.place, c.subscribed) is distinct from (excluded.place, excluded.subscribed)
  returning clerk_user_id, subscribed is not null as changed`

// otherWord tells whether the kept consent "c" is not what the user "n" says.
const otherWord = `n.place <> '' and (c.place, c.subscribed) is distinct from (n.place, n.subscribed)`

// consentOf is the consent of the profile with that id, for lockstep.Consent.
const consentOf = `coalesce((select jsonb_build_object('State', case when subscribed then '` + lockstep.Subscribed + `' else '` + lockstep.Unsubscribed + `' end,
	  'At', said_at, 'Place', place) from lockstep.consents where clerk_user_id = id and subscribed is not null), '{}')`

// subscribed is the word as it is kept; nil if nothing is said.
func subscribed(c lockstep.Consent) *bool {
	if c.State == "" {
		return nil
	}
	return new(c.State == lockstep.Subscribed)
}
