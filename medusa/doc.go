// Package medusa keeps customers in step in Medusa v2, the commerce engine.
//
// [Database] writes Medusa's own table customer in the same PostgreSQL, through
// SQL functions that `lockstep migrate up` puts into the schema lockstep: there
// the rules hold for every caller, each write is one statement that another one
// cannot overtake, and Lockstep's role needs no grant on Medusa's tables. Medusa
// learns of such writes only when it reads: its events customer.created and
// customer.updated are not sent.
//
// [API] goes through Medusa's Admin API instead, on any Medusa that can be
// reached: Medusa's subscribers learn of every change, and each costs some seventy
// times as much. docs/MEDUSA.md compares the two.
//
// Both write the same customers, with the same mark, and have one name: a project
// may change from one to the other.
package medusa

// name is the target's name in links, settings and reports.
const name = "medusa"
