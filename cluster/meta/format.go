package meta

import "slices"

// recordFormat is a feature of moldau's own: which kinds and forms of metadata records may be written. Every broker says with
// its registration up to which level it reads them. The cluster writes at the highest level that all of its brokers read, and
// the controller raises it by itself when the last of an older build is gone, so that builds can be changed broker by broker.
// Clients are not told of it.
const recordFormat = "moldau.record.format"

// RecordFormat is the range of levels that this build reads. Whoever adds a kind of record, or a field to one that an older
// build would stumble over, raises Max, and writes the new form only where Controller.format has reached it.
func RecordFormat() FeatureRange { return FeatureRange{Name: recordFormat, Min: 1, Max: 1} }

// IsOwnFeature says that a feature is moldau's own.
func IsOwnFeature(name string) bool { return name == recordFormat }

// format is the level at which records are written. What was never raised is 1.
func (im *Image) format() int16 { return max(1, im.Feature(recordFormat)) }

// readsUpTo is the level up to which a broker reads records. A build that does not say reads 1.
func readsUpTo(features []FeatureRange) int16 {
	if i := slices.IndexFunc(features, func(f FeatureRange) bool { return f.Name == recordFormat }); i >= 0 {
		return features[i].Max
	}
	return 1
}

// raiseFormat raises the level of the records to what all brokers read, those that are down included: they come back.
func (c *Controller) raiseFormat() []Record {
	level := int16(0)
	for _, b := range c.image.Brokers() {
		if up := readsUpTo(b.Features); level == 0 || up < level {
			level = up
		}
	}
	if level <= c.image.format() {
		return nil
	}
	return []Record{FeatureRecord{Name: recordFormat, Level: level}}
}
