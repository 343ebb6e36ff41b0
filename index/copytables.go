package index

import (
	"database/sql"
	"strings"
)

// A copiedTable is a table that Copy copies, with its columns.
type copiedTable struct {
	name    string
	serial  string // the column that numbers its rows; "": none does
	columns []copiedColumn
}

type copiedColumn struct {
	name string
	kind byte // i(nteger), t(ext or JSON), b(ytes)
}

// copiedTables are all tables but migrations, which the target has from Open, feed,
// which begins anew, and processes, of which none runs. What is referred to comes
// first.
func copiedTables() []copiedTable {
	return []copiedTable{
		copiedTableOf("archive_policies", "", "t:name i:back_window t:definition t:methods"),
		copiedTableOf("archive_policy_rules", "", "t:name t:metric_pattern t:archive_policy"),
		copiedTableOf("resource_types", "id", "i:id t:name t:attributes"),
		copiedTableOf("resources", "", `b:id i:type_id t:original_id t:creator t:user_id t:project_id i:started_at i:ended_at
			i:revision_start t:attributes i:listed_at`),
		copiedTableOf("deleted_resources", "", "b:id i:listed_at i:deleted_at"),
		copiedTableOf("resource_history", "revision",
			`i:revision b:id i:type_id t:original_id t:creator t:user_id t:project_id
			i:started_at i:ended_at i:revision_start i:revision_end t:attributes`),
		copiedTableOf("metrics", "", `b:id t:name t:unit t:creator t:archive_policy b:resource t:label_name t:label_resource
			t:label_type i:deleted_at i:told_at i:told_sack i:told_offset`),
		copiedTableOf("dead_letters", "", `t:id i:sack i:log_offset i:accepted_at i:rejected_at t:project b:metric
			t:archive_policy t:reason b:measures b:raw i:bytes`),
		copiedTableOf("deployment", "", "i:one t:id i:sacks i:created_at"),
		copiedTableOf("logs", "", "t:id i:base i:opened_at i:closed_at i:current"),
		copiedTableOf("log_ends", "", "t:id i:base i:sack i:applied"),
		copiedTableOf("state", "", "i:one i:version i:pruned i:creations i:metrics i:deleted i:letters i:letter_bytes"),
	}
}

func copiedTableOf(name, serial, columns string) copiedTable {
	t := copiedTable{name: name, serial: serial}
	for _, c := range strings.Fields(columns) {
		t.columns = append(t.columns, copiedColumn{c[2:], c[0]})
	}
	return t
}

// filledByMigrations are tables that have rows in a new index.
func filledByMigrations(table string) bool { return table == "resource_types" || table == "state" }

func (t *copiedTable) columnNames() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// scan appends a row to args, as the other database takes it.
func (t *copiedTable) scan(rows *sql.Rows, args []any) ([]any, error) {
	dest := make([]any, len(t.columns))
	for i, c := range t.columns {
		switch c.kind {
		case 'i':
			dest[i] = new(sql.NullInt64)
		case 't':
			dest[i] = new(sql.NullString)
		default:
			dest[i] = new([]byte)
		}
	}
	if err := rows.Scan(dest...); err != nil {
		return nil, err
	}
	for _, d := range dest {
		var arg any
		switch v := d.(type) {
		case *sql.NullInt64:
			if v.Valid {
				arg = v.Int64
			}
		case *sql.NullString:
			if v.Valid {
				arg = v.String
			}
		case *[]byte:
			if *v != nil {
				arg = *v
			}
		}
		args = append(args, arg)
	}
	return args, nil
}

const (
	copiedAtOnce      = 12_000  // arguments of a statement
	copiedBytesAtOnce = 4 << 20 // of texts and bytes in a statement
)

// insert is a statement that inserts so many rows.
func (t *copiedTable) insert(rows int) string {
	row := "(?" + strings.Repeat(", ?", len(t.columns)-1) + ")"
	return "INSERT INTO " + t.name + " (" + t.columnNames() + ") VALUES " + row + strings.Repeat(", "+row, rows-1)
}

func sizeOf(args []any) (bytes int) {
	for _, a := range args {
		switch v := a.(type) {
		case string:
			bytes += len(v)
		case []byte:
			bytes += len(v)
		}
	}
	return bytes
}
