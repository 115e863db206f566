{{- define "nfs.image" -}}
{{- if hasPrefix "/" .image.repository -}}{{ .base }}{{- end -}}{{ .image.repository }}:{{ .image.tag }}
{{- end -}}
