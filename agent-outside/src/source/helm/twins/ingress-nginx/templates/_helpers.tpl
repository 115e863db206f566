{{- define "ingress-nginx.image" -}}
{{- $registry := default .global.image.registry .image.registry -}}
{{- printf "%s/%s:%s" $registry .image.image .image.tag -}}
{{- with .image.digest -}}@{{ . }}{{- end -}}
{{- end -}}
{{- define "ingress-nginx.controllerImage" -}}
{{- $image := deepCopy .Values.controller.image -}}
{{- if $image.chroot -}}
{{- $_ := set $image "image" (printf "%s-chroot" $image.image) -}}
{{- $_ := set $image "digest" $image.digestChroot -}}
{{- end -}}
{{- include "ingress-nginx.image" (dict "global" .Values.global "image" $image) -}}
{{- end -}}
