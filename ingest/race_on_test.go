//go:build race

package ingest

// raceDetector makes rows escape to the heap that otherwise do not: what is allocated under it says nothing.
const raceDetector = true
