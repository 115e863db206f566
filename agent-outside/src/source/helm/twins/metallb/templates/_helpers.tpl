{{- define "metallb.speakerImage" -}}
{{ .Values.speaker.image.repository }}:{{ .Values.speaker.image.tag | default .Chart.AppVersion }}
{{- end }}
