// Package naive is the driver that is too simple to be wrong: it keeps every
// measure that it ever recorded in memory and aggregates all of them, the obvious
// way, whenever somebody reads. It is the oracle that package drivertest holds
// every other driver against, so it shares no code with them: the meaning of each
// aggregation method is written down here a second time, after carbonara's rules.
//
// Nothing survives the process. Where to read: [Driver] and its Read are in
// naive.go, lateness and fencing in writer.go, the methods in aggregate.go.
package naive
