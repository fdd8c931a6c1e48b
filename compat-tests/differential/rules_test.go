//go:build compat

package differential

// rulesOf says which rules of Kafka's behaviour (Rule…) and which mistakes of other brokers (C…) a script holds moldau
// to. They are part of the subtest's name, so that `go test -run /C41` finds what is about one of them.
var rulesOf = map[string]string{
	"api-versions":              "Rule003_Rule004_Rule005_Rule007_Rule008_C1_C5_C11_C12_C13",
	"api-versions-unsupported":  "Rule002_Rule003_C1_C2_C4",
	"api-versions-misrouted":    "Rule006",
	"hostile-frames":            "Rule001_Rule010_C4_C14",
	"hostile-bodies":            "Rule001_C14",
	"hostile-counts":            "Rule001_C14",
	"hostile-streams":           "Rule001_C9",
	"unknown-apis":              "Rule001_C11",
	"order-of-answers":          "Rule009_C9",
	"metadata":                  "Rule011_Rule018_Rule019_Rule020_C17_C22_C23_C24_C129_C138",
	"metadata-auto-create":      "Rule017_Rule018_C17_C18",
	"create-topics":             "Rule012_Rule109_C25_C26_C27_C33",
	"delete-topics":             "Rule110_C24",
	"create-partitions":         "Rule110_C28",
	"describe-topic-partitions": "Rule023",
	"describe-cluster":          "C129_C138",
	"describe-log-dirs":         "C120_C130",
	"move-logs":                 "C120_C130",
	"describe-configs":          "Rule112_C30_C31_C34_C126_C132",
	"alter-configs":             "Rule111_C32",
	"incremental-alter-configs": "Rule111_C31_C32",
	"incremental-topic-values":  "Rule109_Rule111_C33",
	"list-config-resources":     "Rule113",
	"produce-versions":          "Rule024_Rule025_Rule039_C6_C36_C37",
	"produce-batches":           "Rule026_Rule027_Rule028_Rule029_C39_C47",
	"produce-stumbles":          "Rule028_C122",
	"produce-acks":              "Rule024_Rule025_C10",
	"produce-codecs":            "Rule029_Rule030_Rule035_C41_C66",
	"produce-times":             "Rule033_Rule034_C44_C67",
	"produce-limits":            "Rule031_Rule032_Rule036_C42_C43",
	"produce-idempotent":        "Rule040_Rule041_Rule042_Rule043_Rule044_Rule045_Rule047_C45_C46_C48",
	"fetch-versions":            "Rule059_Rule064_Rule065_Rule066_Rule072_C8_C51_C52_C55_C58_C61",
	"fetch-limits":              "Rule060_Rule061_Rule063_C53",
	"fetch-waiting":             "Rule062_Rule063_C60",
	"fetch-wakes":               "Rule062_Rule063",
	"fetch-sessions":            "Rule066_Rule067_Rule068_Rule069_Rule070_Rule071_C56_C57",
	"list-offsets":              "Rule074_Rule075_Rule076_C68_C69_C70",
	"offset-for-leader-epoch":   "Rule077_C71_C72",
	"delete-records":            "Rule075_Rule078_C35",
	"find-coordinator":          "Rule086_C87_C89",
	"join-refused":              "Rule087_C80_C88",
	"group-of-one":              "Rule087_Rule088_Rule090_Rule091_Rule093_C81_C82_C83_C88",
	"group-of-two":              "Rule088_Rule090_Rule091_Rule094_C81_C82_C84",
	"static-members":            "Rule087_Rule092_C80",
	"list-and-describe-groups":  "Rule096_Rule097_C91",
	"delete-groups":             "Rule098",
	"offset-commit":             "Rule094_C76_C77_C78_C95",
	"offset-fetch":              "Rule095_C73_C75",
	"stopped":                   "Rule042_Rule046_Rule047_C24_C85_C127",
	"killed":                    "Rule042_Rule046_Rule047_C49_C85_C123",
}

// title is the name of the script's subtest.
func (sc script) title() string {
	if rules := rulesOf[sc.name]; rules != "" {
		return sc.name + "_" + rules
	}
	return sc.name
}
