{{- define "cuecard.labels" -}}
app.kubernetes.io/name: cuecard
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
